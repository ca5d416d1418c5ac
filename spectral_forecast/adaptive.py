"""How do I forecast with rules that look at the features? Runs whose weights or schedule are made on the way."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, gram
from spectral_forecast._typing import Array, GramForecaster, Times, Weights
from spectral_forecast.clock import map_clock
from spectral_forecast.forecasters.elementwise import bounded, widened
from spectral_forecast.forecasters.polynomial import Reuse
from spectral_forecast.forecasters.tcpade import TCPade, interval, scaled_gram
from spectral_forecast.forecasters.tcpade_paper import TCPadePaper
from spectral_forecast.forecasters.tcpade_released import TCPadeReleased
from spectral_forecast.plan import make_plan
from spectral_forecast.ring import Ring
from spectral_forecast.sampling import Run

__all__ = ["GramRun", "TCPadeRun"]

Form: TypeAlias = TCPade | TCPadePaper | TCPadeReleased


class GramRun(Run):
    """A run whose weights are made at run time, by a `GramForecaster`: the same loop as with `Run`.

    Parameters
    ----------
    forecaster : GramForecaster
    times, evaluate, span, keep
        The run's clock and schedule, as for `make_plan`; by default all features are held.
    check_finite, ring
        As for `Run`.
    reduce : callable, optional
        As for `gram.row`, when features are spread over several devices.

    Attributes
    ----------
    gram : ndarray of float64, shape (K, K)
        The Gram matrix of the features kept now.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import GramRun, Shanks, schedules
    >>> run = GramRun(Shanks(), np.arange(5), schedules.mask(5, [0, 1, 2]))
    >>> for i in range(5):
    ...     if run.evaluates(i):
    ...         run.keep(i, np.array([0.5**i, 3.0 - 0.5**i]))
    ...     else:
    ...         print(i, run.forecast(i))
    3 [0.125 2.875]
    4 [0.0625 2.9375]
    """

    def __init__(
        self,
        forecaster: GramForecaster,
        times: Times,
        evaluate: ArrayLike,
        *,
        span: tuple[float, float] | None = None,
        keep: int | None = None,
        check_finite: bool = True,
        reduce: Callable[[Array], Array] | None = None,
        ring: Ring | None = None,
    ) -> None:
        # A matrix of all features, whatever the rule reaches back to.
        held = int(np.sum(evaluate)) if keep is None else keep
        plan = make_plan(Reuse(), times, evaluate, span=span, keep=held)
        super().__init__(plan, check_finite=check_finite, ring=ring)
        self.forecaster = forecaster
        self.gram = np.zeros((0, 0))
        self._tau = map_clock(np.asarray(times, dtype=np.float64), span)
        self._reduce = reduce

    def _observe(self, step: int, feature: Array) -> None:
        super()._observe(step, feature)
        products = self._ring.products(self._rows().tolist(), feature, reduce=self._reduce)
        self.gram = gram.append(self.gram, products)[-self.plan.kept :, -self.plan.kept :]

    def _rows(self) -> NDArray[np.intp]:
        """Ring rows of the features kept now, oldest first."""
        return self.plan.rows(self._next)

    def _weights(self, step: int) -> Weights:
        rows = self._rows()
        times = self._tau[self.plan.nodes(self._next)[rows]]
        w = np.zeros(self.plan.kept)
        w[rows] = self.forecaster.weights(times, float(self._tau[step]), self.gram)
        return w


class TCPadeRun:
    """A gated run of TC-Padé around a block stack: the network's part that maps an input to an output.

    ::

        run = TCPadeRun(TCPade.fast(), 20)
        for i, t in enumerate(timesteps):
            inputs = embed(x, t)
            if run.evaluates(i):
                outputs = blocks(inputs, t)
                run.keep(i, inputs, outputs)
            else:
                outputs = run.forecast(i, inputs)
            x = step(x, head(outputs), t)

    Parameters
    ----------
    form : TCPade, TCPadePaper or TCPadeReleased
    steps : int
        Length of the run.
    evaluate : array_like of bool, optional
        Steps that are evaluated whatever the gate says; `tcpade.interval` by default.

    Attributes
    ----------
    evaluations : int
        How many steps were evaluated so far.

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import TCPade, TCPadeRun
    >>> run, x = TCPadeRun(TCPade.slow(), 20), np.array([1.0])
    >>> for i in range(20):
    ...     if run.evaluates(i):
    ...         run.keep(i, x, 0.9 * x)
    ...         x = 0.9 * x
    ...     else:
    ...         x = run.forecast(i, x)
    >>> run.evaluations
    7
    """

    def __init__(self, form: Form, steps: int, evaluate: ArrayLike | None = None) -> None:
        if not isinstance(form, Form):
            raise TypeError(f"`form` is {form!r}; write TCPade(), TCPadePaper() or TCPadeReleased().")
        count = _checks.integer("steps", steps, least=1)
        self.form = form
        self.evaluations = 0
        self._mask = interval(count) if evaluate is None else _checks.mask("evaluate", evaluate, count)
        self._kept: list[tuple[float, Array]] = []
        self._last: Array = None
        self._next = 0

    def evaluates(self, step: int) -> bool:
        """Whether the network runs at ``step``: by schedule, to gather residuals, or because the gate is shut."""
        self._in_order(step)
        if self._mask[step] or len(self._kept) < self.form.least:
            return True
        return not self.form.skips(scaled_gram([residual for _, residual in self._kept]))

    def keep(self, step: int, inputs: Array, outputs: Array) -> None:
        """Keep the residual of an evaluated step; ``outputs`` and ``inputs`` have one shape and dtype."""
        self._in_order(step)
        if outputs.shape != inputs.shape or outputs.dtype != inputs.dtype:
            raise ValueError(
                f"`outputs` is {outputs.dtype} of shape {tuple(outputs.shape)}, `inputs` is {inputs.dtype} of shape "
                f"{tuple(inputs.shape)}; write the input and the output of one block stack."
            )
        with np.errstate(all="ignore"):
            self._remember(step, bounded(widened(outputs) - widened(inputs), outputs))
        self._follow(step, inputs)
        self.evaluations += 1

    def forecast(self, step: int, inputs: Array) -> Array:
        """Return the forecast of the block stack's output for ``inputs``."""
        self._in_order(step)
        if not self._kept:
            raise ValueError("`step` 0 has nothing to be forecast from; evaluate it and `keep(0, inputs, outputs)`.")
        times, residuals = zip(*self._kept, strict=True)
        residual = self.form.forecast(times, residuals, self._time(step))
        with np.errstate(all="ignore"):
            moved = self.form.follow * (widened(inputs) - widened(self._last))
            outputs = bounded(widened(inputs) + widened(residual) + moved, inputs)
            if self.form.recursive:
                self._remember(step, bounded(widened(outputs) - widened(inputs), outputs))
        self._follow(step, inputs)
        return outputs

    def _time(self, step: int) -> float:
        """The paper's clock, [0, steps) on [-1, 1)."""
        return 2.0 * step / len(self._mask) - 1.0

    def _remember(self, step: int, residual: Array) -> None:
        self._kept = [*self._kept, (self._time(step), residual)][-self.form.history :]

    def _follow(self, step: int, inputs: Array) -> None:
        # A copy, because samplers update arrays in place.
        self._last = array_namespace(inputs).asarray(inputs, copy=True)
        self._next = step + 1

    def _in_order(self, step: int) -> None:
        if step != self._next or step >= len(self._mask):
            raise ValueError(
                f"`step` is {step}, but {self._next} of {len(self._mask)} comes next; keep or forecast every step once."
            )
