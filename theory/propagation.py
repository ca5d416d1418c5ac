r"""From errors of the network's output to the error of the sample."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spectral_forecast import bounds
from spectral_forecast.theory.statement import Advance, Outcome, Statement, Tally, batches

__all__ = ["STATEMENT", "check", "wrong"]

STATEMENT = Statement(
    name="propagation",
    title="From forecasts to the sample",
    words=(
        r"Euler's steps of $dx = v(x, \sigma)\,d\sigma$ with outputs wrong by $\delta_i$ end no further from the "
        r"exact steps than the sum of what each error pushes, $|\Delta\sigma_i|\,\delta_i$, grown by every later "
        r"step. What counts at a step is $|\Delta\sigma_i|\,\delta_i$, not $\delta_i$."
    ),
    latex=(
        r"\|\Delta x_T\| \le \sum_i |\Delta\sigma_i|\,\delta_i \prod_{j > i} \left(1 + "
        r"|\Delta\sigma_j|\,L_j\right)"
    ),
    proof=(
        r"Induction over the steps: $\Delta x_{i+1} = \Delta x_i + \Delta\sigma_i\,(v(x_i + \Delta x_i) - v(x_i)) "
        r"+ \Delta\sigma_i\,(\hat v_i - v(x_i + \Delta x_i))$, and the Lipschitz constant $L_i$ of $v(\cdot, "
        r"\sigma_i)$ bounds the middle term (the discrete Gronwall inequality). Attained by $v = -L x$ with errors"
        r" that all push one way, $\sigma$ falling."
    ),
    sharp=True,
    wrong="leaves out the growth of the step right after the error",
)


# Each has the Lipschitz constant 1; ``turn`` is orthogonal. The first attains the bound.
_FIELDS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, _: -x,
    lambda x, turn: x @ turn,
    lambda x, turn: np.tanh(x @ turn),
    lambda x, turn: np.sin(x) @ turn,
)


def wrong(sigmas: Any, errors: Any, lipschitz: Any) -> Any:
    """Grow an error from the second step after it on."""
    step = np.abs(np.diff(sigmas))
    growth = 1.0 + step * lipschitz
    factors = [np.prod(growth[i + 2 :]) for i in range(step.size)]
    return np.sum(step * errors * np.array(factors), axis=-1)


def check(
    examples: int = 1000, seed: int = 0, *, bound: Callable[..., Any] = bounds.propagation, advance: Advance = None
) -> tuple[Outcome, ...]:
    """Try drawn schedules and velocity fields of a known Lipschitz constant: linear, saturating, rotating, extremal.

    Examples
    --------
    >>> check(500)[0].violations, check(500, bound=wrong)[0].violations > 0
    (0, True)
    """
    rng = np.random.default_rng(seed)
    tally = Tally("error of the sample")
    for count in batches(examples, advance):
        steps = int(rng.integers(1, 51))
        sigmas = np.concatenate([[0.0], np.cumsum(rng.uniform(0.0, 1.0, steps) ** 2 + 1e-6)])[::-1]
        sigmas = sigmas / sigmas[0]
        rate = 10.0 ** rng.uniform(-1.0, 1.0) * rng.uniform(0.2, 1.0, steps)
        size = rng.uniform(0.0, 1.0, (count, steps)) * (rng.random((count, steps)) < 0.7)
        kind = rng.integers(4)
        exact = rng.normal(size=(count, 1 if kind == 0 else 5))
        push = rng.normal(size=(count, steps, exact.shape[1]))
        push /= np.linalg.norm(push, axis=-1, keepdims=True)
        if kind == 0:
            push[:] = 1.0
        turn, _ = np.linalg.qr(rng.normal(size=(exact.shape[1],) * 2))
        field = _FIELDS[kind]
        moved = exact.copy()
        for i, step in enumerate(np.diff(sigmas)):
            moved = moved + step * (rate[i] * field(moved, turn) + size[:, i, None] * push[:, i])
            exact = exact + step * rate[i] * field(exact, turn)
        error = np.linalg.norm(moved - exact, axis=1)
        fuzz = 1e-13 * (np.linalg.norm(moved, axis=1) + np.linalg.norm(exact, axis=1) + error)
        tally.add(error, bound(sigmas, size, rate), rounding=fuzz)
    return (tally.outcome(),)
