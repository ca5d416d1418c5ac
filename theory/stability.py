r"""When does forecasting stay stable, and what does correcting on arrival cost of it?"""

from collections.abc import Callable
from typing import Any

import numpy as np

from spectral_forecast import Corrector, Newton, Plan, make_plan
from spectral_forecast.theory.statement import Advance, Outcome, Statement, Tally, batches

__all__ = ["STATEMENT", "check", "limit", "matrices", "moments", "plan", "radius", "wrong"]

STATEMENT = Statement(
    name="stability",
    title="Predict, evaluate, correct: stability",
    words=(
        r"Take $dx = \lambda x\,d\sigma$, evaluate every m-th of equal steps, extrapolate by a line between, and add "
        r"the part $\theta$ of the corrector on arrival. With $z = \lambda H$, $H$ the length of a gap, the run dies "
        r"out if and only if all roots of a cubic lie inside the unit circle. On the negative axis that limits the "
        r"gap: with the full corrector of degree 2 to little more than half of what is stable without. Where it "
        r"breaks, the newest forecast is wrong by four times the velocity, which is what the guard sees."
    ),
    latex=(
        r"\xi^3 = \xi^2 + z\left[(1 + a + \theta g)\,\xi^2 - (a + 2\theta g)\,\xi + \theta g\right], \qquad "
        r"-z \le \frac{2}{1 + 2a + 4\theta g}"
    ),
    proof=(
        r"Let $p_k$ be the sample on arrival at the k-th evaluation, so that $v_k = \lambda p_k$, and $t = j/m$. "
        r"The forecasts $v_k + t(v_k - v_{k-1})$ sum to $H[(1 + a)v_k - a v_{k-1}]$ with $a = \frac1m\sum t$. "
        r"Interpolated less extrapolated is $t\nabla^2 v$ for degree 1 and $\frac12 t(1 + t)\nabla^2 v$ for degree 2, "
        r"so the correction is $\theta H g \nabla^2 v_k$ with $g = a$ or $g = \frac12(a + b)$, $b = \frac1m\sum t^2$. "
        r"Together $p_{k+1} = p_k + z[(1 + a)p_k - a p_{k-1}] + \theta z g \nabla^2 p_k$; put $p_k = \xi^k$. At "
        r"$\xi = -1$ the cubic gives the limit; there $\nabla^2 v = 4v$. For $m \to \infty$ and $\theta = 0$ this is "
        r"Adams and Bashforth's method of order 2, whose limit is 1; with the corrector it is $6/11$."
    ),
    sharp=True,
    wrong="leaves the correction out, as if the corrected sample had been evaluated again",
)


def moments(gap: int, degree: int) -> tuple[float, float]:
    """Return a and g of the statement for evaluations every ``gap`` steps.

    Examples
    --------
    >>> moments(2, 1), moments(2, 2)
    ((0.25, 0.25), (0.25, 0.1875))
    """
    t = np.arange(gap) / gap
    a = float(np.mean(t))
    return a, a if degree == 1 else 0.5 * (a + float(np.mean(t**2)))


def matrices(z: Any, gap: int, degree: int, part: Any) -> Any:
    """Return what takes the last three samples on arrival, newest first, one gap further: shape (..., 3, 3)."""
    a, g = moments(gap, degree)
    z, theta = np.broadcast_arrays(np.asarray(z, dtype=complex), part)
    found = np.zeros((*z.shape, 3, 3), dtype=complex)
    found[..., 0, 0] = 1.0 + z * (1.0 + a + theta * g)
    found[..., 0, 1] = -z * (a + 2.0 * theta * g)
    found[..., 0, 2] = z * theta * g
    found[..., 1, 0] = found[..., 2, 1] = 1.0
    return found


def radius(z: Any, gap: int, degree: int, part: float) -> Any:
    """Return the largest modulus of the cubic's roots: by how much a run grows in one gap, in the end.

    Examples
    --------
    >>> round(float(radius(-limit(4, 2, 1.0), 4, 2, 1.0)), 12)
    1.0
    """
    return np.max(np.abs(np.linalg.eigvals(matrices(z, gap, degree, part))), axis=-1)


def limit(gap: int, degree: int, part: float) -> float:
    """Return the largest -z for which a run on the negative axis does not grow.

    Examples
    --------
    >>> [round(limit(1000, 2, part), 2) for part in (0.0, 0.5, 1.0)]
    [1.0, 0.71, 0.55]
    """
    a, g = moments(gap, degree)
    return 2.0 / (1.0 + 2.0 * a + 4.0 * part * g)


def wrong(z: Any, gap: int, degree: int, part: float) -> Any:
    """Forget that a corrected sample is not evaluated again."""
    return radius(z, gap, degree, 0.0 * part)


def plan(gap: int, degree: int, part: float) -> Plan:
    """Four evaluations and the gaps between them, of length 1, as a plan."""
    steps = 3 * gap + 1
    evaluate = np.arange(steps) % gap == 0
    sigmas = -np.arange(steps + 1.0) / gap
    corrector = Corrector(degree, damping=part)
    return make_plan(Newton(1), np.arange(steps), evaluate, keep=4, sigmas=sigmas, corrector=corrector)


def _carried(run: Plan, gap: int, z: Any) -> Any:
    """The same matrices from the tables of a plan: its third gap carried out from every unit vector, (..., 3, 3)."""
    start = np.eye(3, dtype=complex) * np.ones((*np.shape(z), 1, 1))
    z = np.asarray(z)[..., None]
    ring = np.zeros((run.kept, *start.shape[:-2], 3), dtype=complex)
    for k, step in enumerate((2 * gap, gap, 0)):
        ring[run.slot[step]] = -z * start[..., k, :]  # the sampler's steps are negative
    x = start[..., 0, :] + np.tensordot(run.correction[2 * gap], ring, axes=1)
    for step in range(2 * gap, 3 * gap):
        velocity = ring[run.slot[step]] if run.evaluate[step] else np.tensordot(run.weights[step], ring, axes=1)
        x = x - velocity / gap
    return np.stack([x, start[..., 0, :], start[..., 1, :]], axis=-2)


def check(
    examples: int = 1000, seed: int = 0, *, bound: Callable[..., Any] = radius, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Carry out plans of drawn gaps, degrees and dampings on drawn test equations.

    Examples
    --------
    >>> [outcome.violations for outcome in check(500)], check(500, bound=wrong)[0].violations > 0
    ([0, 0], True)
    """
    rng = np.random.default_rng(seed)
    growth, reach = Tally("growth in one gap"), Tally("stable gaps on the negative axis")
    for count in batches(examples, advance):
        gap, degree = int(rng.integers(1, 13)), int(rng.integers(1, 3))
        part = float(rng.choice([0.0, 0.5, 1.0, rng.random()]))
        run = plan(gap, degree, part)
        z = rng.uniform(0.0, 1.5, count) * np.exp(1j * rng.uniform(0.0, 2.0 * np.pi, count))
        found = np.max(np.abs(np.linalg.eigvals(_carried(run, gap, z))), axis=-1)
        growth.add(found, bound(z, gap, degree, part), rounding=1e-6)  # roots that meet are known to that only
        gaps = limit(gap, degree, part) * rng.uniform(0.9, 1.1, count)
        stable = np.max(np.abs(np.linalg.eigvals(_carried(run, gap, -gaps))), axis=-1) <= 1.0
        reach.add(np.where(stable, gaps, 0.0), limit(gap, degree, part), rounding=1e-9)
    return growth.outcome(), reach.outcome()
