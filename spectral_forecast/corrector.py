"""What does an evaluation say of the forecasts before it? By how much they should have moved the sample.

On arrival at an evaluated step the steps skipped before it lie between kept outputs, so they can be interpolated
instead of extrapolated. The corrector adds to the sample what the sampler's steps would have added with the
interpolated outputs, and takes away what they did add. It costs no evaluation.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks
from spectral_forecast._typing import Weights
from spectral_forecast.forecasters.analytic import AnalyticKernel
from spectral_forecast.forecasters.polynomial import Newton

__all__ = ["Corrector", "guard"]


@dataclass(frozen=True)
class Corrector:
    r"""How `make_plan` fills ``Plan.correction``: which curve goes through the kept outputs, and how much of it counts.

    On arrival at step i, after its output is kept, the sample is moved by
    :math:`\sum_j (\sigma_{j+1} - \sigma_j)(\tilde v_j - \hat v_j)` over the steps j skipped since the last evaluation:
    :math:`\hat v_j` is the forecast that was used, :math:`\tilde v_j` the interpolation. Both are weighted sums of kept
    outputs, and so is the whole. It is exact for samplers that add :math:`(\sigma_{j+1} - \sigma_j) v_j` at every step:
    Euler's method for flow matching, and DDIM in :math:`x / \sqrt{\bar\alpha}`.

    Parameters
    ----------
    degree : int
        Of the polynomial through the newest ``degree + 1`` outputs, the one that has just arrived among them; 1 or
        more, lowered while there are fewer.
    kernel : AnalyticKernel, optional
        Interpolate by this rule through all kept outputs instead.
    damping : float
        What part of the correction is made, 0 to 1.

    Notes
    -----
    Prediction, evaluation and correction without evaluating again has a small region of stability
    (`spectral_forecast.theory.stability`): over long gaps of a stiff field a full correction does harm. `guard` lowers
    it there, at run time: see `Run.correct`.

    Examples
    --------
    A velocity that is quadratic in time is integrated as if every step had been evaluated:

    >>> import numpy as np
    >>> from spectral_forecast import Corrector, Newton, make_plan, schedules
    >>> times = np.arange(9.0)
    >>> sigmas = np.append(1.0 - times / 9.0, 0.0)
    >>> evaluate = schedules.mask(9, [0, 1, 2, 8])
    >>> plan = make_plan(Newton(1), times, evaluate, sigmas=sigmas, corrector=Corrector(degree=2))
    >>> run, x = plan.start(), np.zeros(1)
    >>> for i in range(9):
    ...     if run.evaluates(i):
    ...         run.keep(i, np.array([times[i] ** 2]))
    ...         x = run.correct(i, x, limit=None)
    ...         velocity = np.array([times[i] ** 2])
    ...     else:
    ...         velocity = run.forecast(i)
    ...     x = x + (sigmas[i + 1] - sigmas[i]) * velocity
    >>> bool(np.isclose(x[0], np.sum(np.diff(sigmas) * times**2)))
    True
    """

    degree: int = 2
    kernel: AnalyticKernel | None = None
    damping: float = 1.0

    def __post_init__(self) -> None:
        _checks.integer("degree", self.degree, least=1)
        if self.kernel is not None and not isinstance(self.kernel, AnalyticKernel):
            raise TypeError(f"`kernel` is {self.kernel!r}; write an AnalyticKernel, or leave it out.")
        if not 0.0 <= _checks.finite("damping", self.damping) <= 1.0:
            raise ValueError(f"`damping` is {self.damping}; write 0 (no correction) to 1 (all of it).")

    def weights(self, times: NDArray[np.float64], t: float) -> Weights:
        """Return the weights of the outputs kept at ``times`` (K,) in the interpolation at ``t``, among them."""
        rule = Newton(self.degree) if self.kernel is None else self.kernel
        return rule._weights(times, t)

    def table(
        self,
        tau: NDArray[np.float64],
        evaluate: NDArray[np.bool_],
        slot: NDArray[np.int32],
        weights: NDArray[np.float64],
        sigmas: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return ``Plan.correction`` for the other parts of a plan, its clock ``tau`` (N,) and its noise levels."""
        rows = weights.shape[1]
        correction = np.zeros_like(weights)
        held: list[int] = []
        for step in np.flatnonzero(evaluate).tolist():
            skipped = range(held[-1] + 1, step) if held else range(0)
            if skipped and len(held) >= rows and weights[skipped.start : step, slot[step]].any():
                raise ValueError(
                    f"`keep` is {rows}, too few to correct at step {step} what was forecast from a feature that is "
                    f"dropped there; write {rows + 1}."
                )
            held.append(step)
            newest = held[-rows:]
            for j in skipped:
                missed = -weights[j]
                missed[slot[newest]] += self.weights(tau[newest], float(tau[j]))
                correction[step] += self.damping * (sigmas[j + 1] - sigmas[j]) * missed
        return correction


def guard(error: Any, limit: float = 0.2) -> Any:
    """Return what part of a correction is safe, from the relative error of the forecast that an evaluation replaced.

    Parameters
    ----------
    error : float or array
        Norm of the evaluated output less its forecast, over the norm of the output.
    limit : float
        The error at which half of the correction is made, above 0.

    Returns
    -------
    float or array
        ``1 / (1 + (error / limit) ** 2)``: near 1 for small errors. The correction itself grows like the error, so that
        what is made of it is largest at the limit.

    Examples
    --------
    >>> guard(0.0), guard(0.2), round(guard(2.0), 4)
    (1.0, 0.5, 0.0099)
    """
    if _checks.finite("limit", limit) <= 0.0:
        raise ValueError(f"`limit` is {limit}; write the relative error at which half of the correction is made.")
    return 1.0 / (1.0 + (error / limit) ** 2)
