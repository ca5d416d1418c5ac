"""On which functions are the statements tried? A catalogue with names, and draws of whole families at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from spectral_forecast import AnalyticKernel, Chebyshev, LinearRule, Newton, Reuse, TaylorSeer, ellipse, spectrum

__all__ = ["CATALOGUE", "RULES", "Case", "Drawn", "TestFunction", "cases", "coefficients", "draw", "draw_series"]

Floats = NDArray[np.float64]
Callee = Callable[[Any], Any]

RULES: tuple[LinearRule, ...] = (
    Reuse(),
    *(Newton(order) for order in (1, 2, 3)),
    TaylorSeer(2),
    Chebyshev(4, ridge=0.1),
    Chebyshev(4, ridge=0.1, free=2),
    Chebyshev(6, ridge=1e-3),
    spectrum(0.5),
    AnalyticKernel(2.0, ridge=1e-3),
    AnalyticKernel(1.3, ridge=1e-6, drift=-1),
)
"""The rules that are tried."""


@dataclass(frozen=True)
class TestFunction:
    """A function with what is known of it.

    Parameters
    ----------
    name, latex : str
        For legends.
    call : callable
        Takes complex or real arrays, any shape.
    singularities : tuple of complex
        Where it is not analytic; empty for an entire function.
    """

    __test__ = False  # not a test, whatever pytest thinks of the name

    name: str
    latex: str
    call: Callee
    singularities: tuple[complex, ...] = ()

    def __call__(self, points: Any) -> Any:
        """Return the values at ``points``."""
        return self.call(points)

    @property
    def rho(self) -> float:
        """Parameter of the largest ellipse that is free of singularities."""
        return ellipse.largest(self.singularities)


def _tanh(scale: float, at: float = 0.0) -> TestFunction:
    pole = 0.5j * np.pi / scale
    return TestFunction(
        f"tanh {scale:g}(x - {at:g})",
        rf"$\tanh {scale:g}(x - {at:g})$",
        lambda z: np.tanh(scale * (z - at)),
        (at + pole, at - pole),
    )


CATALOGUE: tuple[TestFunction, ...] = (
    TestFunction("polynomial", "$x^5 - x^2 + 0.3$", lambda z: z**5 - z**2 + 0.3),
    TestFunction("T_5", "$T_5(x)$", lambda z: 16 * z**5 - 20 * z**3 + 5 * z),
    TestFunction("exp", "$e^x$", np.exp),
    TestFunction("cos", r"$\cos 5x$", lambda z: np.cos(5.0 * z)),
    TestFunction("pole", "$1/(1.25 - x)$", lambda z: 1.0 / (1.25 - z), (1.25,)),
    TestFunction("Runge", "$1/(1 + 25x^2)$", lambda z: 1.0 / (1.0 + 25.0 * z**2), (0.2j, -0.2j)),
    _tanh(2.0),
    _tanh(5.0, 0.3),
    TestFunction("product", r"$e^x \cos 3x / (1.5 + x)$", lambda z: np.exp(z) * np.cos(3.0 * z) / (1.5 + z), (-1.5,)),
    TestFunction("sum", r"$\sin 4x + 0.1/(1.1 - x)$", lambda z: np.sin(4.0 * z) + 0.1 / (1.1 - z), (1.1,)),
)
"""Ten functions, from entire ones to poles close to the interval. They show the radii 1.22 to infinity."""


def coefficients(function: Callee, degree: int) -> Floats:
    """Return Chebyshev coefficients 0 ... ``degree`` of a function by interpolation, shape (degree + 1, ...).

    ``function`` maps points (n,) to values (..., n); it has to be resolved by the degree.

    Examples
    --------
    >>> coefficients(lambda x: 2 * x**2, 3).round(12) + 0.0
    array([1., 0., 1., 0.])
    """
    n = degree + 1
    angles = np.pi * (np.arange(n) + 0.5) / n
    values = np.asarray(function(np.cos(angles))).real
    # An even extension turns the discrete cosine transform into a Fourier transform.
    full = np.fft.rfft(np.concatenate([values, values[..., ::-1]], axis=-1), axis=-1)[..., :n]
    series = (full * np.exp(-0.5j * np.pi * np.arange(n) / n)).real / n
    series[..., 0] /= 2.0
    return np.moveaxis(series, -1, 0)


class Drawn(NamedTuple):
    """Functions of one family, as one callable.

    Attributes
    ----------
    call : callable
        Points (n,), real or complex, to values (count, n).
    bound : ndarray of float64, shape (count,)
        Bound B of each on the ellipse.
    """

    call: Callee
    bound: Floats


def draw(rng: np.random.Generator, rho: float, count: int) -> Drawn:
    """Draw functions analytic in the ellipse: poles outside, exp, cos, tanh, polynomials, their sums and products."""
    call = _base(rng, rho, count)
    kind = rng.integers(4)
    if kind > 1:
        first, second = call, _base(rng, rho, count)
        call = (lambda z: first(z) + second(z)) if kind == 2 else (lambda z: first(z) * second(z))
    # No pole is closer than 5 % in the parameter, so that samples 0.0015 apart miss less than 0.2 % of the peak.
    peak = np.max(np.abs(call(ellipse.boundary(rho, 4096))), axis=-1)
    return Drawn(call, 1.002 * peak)


def _base(rng: np.random.Generator, rho: float, count: int) -> Callee:
    def column(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (count, 1))

    kind = rng.integers(5)
    if kind == 0:  # a pole, or a pair of them, on a larger ellipse
        u = rho * column(1.05, 2.0) * np.exp(1j * column(0.0, np.pi))
        pole = (u + 1.0 / u) / 2.0
        return lambda z: 1.0 / ((z - pole) * (z - pole.conj()))
    if kind == 1:
        rate = column(-3.0, 3.0)
        return lambda z: np.exp(rate * z)
    if kind == 2:
        rate, phase = column(0.0, 6.0), column(0.0, 6.3)
        return lambda z: np.cos(rate * z + phase)
    if kind == 3:  # poles on the imaginary axis at the height of a larger ellipse
        radius = rho * column(1.05, 2.0)
        scale = np.pi / (radius - 1.0 / radius)
        return lambda z: np.tanh(scale * z)
    series = rng.normal(size=(count, int(rng.integers(1, 10))))
    return lambda z: chebyshev.chebval(z, series.T)


def draw_series(
    rng: np.random.Generator, rho: float, count: int, length: int, *, channels: int = 1
) -> NDArray[np.float64]:
    r"""Draw :math:`|c_0| \le 1` and :math:`|c_m| \le 2\rho^{-m}`, shape (count, channels, length).

    Boxes, corners of the box with random signs, single degrees and shorter polynomials, mixed. A vector's
    coefficients have a 2-norm within the limit.
    """
    limit = 2.0 * rho ** -np.arange(float(length))
    limit[0] = 1.0
    vectors = rng.normal(size=(count, channels, length))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    size = rng.uniform(size=(count, 1, length)) ** rng.choice([0.0, 0.2, 1.0, 5.0], size=(count, 1, 1))
    single = rng.random((count, 1, 1)) < 0.1
    size = np.where(single, np.arange(length) == rng.integers(0, min(length, 16), (count, 1, 1)), size)
    short = rng.random((count, 1, 1)) < 0.2
    size = np.where(short & (np.arange(length) > rng.integers(0, 12, (count, 1, 1))), 0.0, size)
    return np.asarray(vectors * size * limit)


class Case(NamedTuple):
    """A forecast that is tried on a group of functions.

    Attributes
    ----------
    size : int
        Of the group.
    rho : float
        Parameter of the ellipse.
    times : ndarray of float64, shape (K,)
        Kept times.
    t : float
        Target.
    """

    size: int
    rho: float
    times: Floats
    t: float


def cases(rng: np.random.Generator, sizes: Iterator[int], *, largest: float = 8.0) -> Iterator[Case]:
    """Yield forecasts: kept times of steps of a run or with drawn gaps, and a later target, on [-1, 1]."""
    for count in sizes:
        rho = float(np.exp(rng.uniform(np.log(1.05), np.log(largest))))
        kept = int(rng.integers(1, 15))
        if rng.random() < 0.5:
            steps = np.sort(rng.choice(np.arange(50), size=kept + 1, replace=False))
            clock = 2.0 * steps / 50.0 - 1.0
        else:
            gaps = np.cumsum(rng.uniform(0.05, 1.0, kept + 1) ** 2)
            start, end = (-1.0, 1.0) if rng.random() < 0.5 else np.sort(rng.uniform(-1.0, 1.0, 2))
            clock = start + (end - start) * (gaps - gaps[0]) / (gaps[-1] - gaps[0])
        yield Case(count, rho, clock[:-1], float(clock[-1]))
