"""What do two published methods compute? Their arithmetic in our own words, where no package of theirs is installed."""

import math
from collections.abc import Sequence

import torch
from numpy.polynomial import chebyshev, hermite

__all__ = ["HiCache", "Spectrum"]


class Spectrum:
    """The released Spectrum's fit and prediction (arXiv 2603.01623): coefficients for every element.

    The features of an evaluation are joined to one matrix, a ridge regression is solved with as many right-hand sides
    as a feature has elements, and a forecast is a product with the coefficients; design matrix, coefficients and
    products are in the features' dtype.

    Parameters
    ----------
    features : sequence of K Tensor, shape (F,)
    times : sequence of K float
        On [-1, 1].

    Examples
    --------
    >>> kept = [torch.full((3,), t * t) for t in (-1.0, -0.9, -0.8, -0.7, -0.6)]
    >>> state = Spectrum(kept, (-1.0, -0.9, -0.8, -0.7, -0.6), ridge=1e-5)
    >>> state.fit()
    >>> bool((state.predict(-0.5) - 0.25).abs().max() < 0.01)
    True
    """

    def __init__(
        self, features: Sequence[torch.Tensor], times: Sequence[float], *, degree: int = 4, ridge: float = 0.1
    ) -> None:
        self.matrix = torch.stack(tuple(features))
        self.times = list(times)
        self.degree, self.ridge = degree, ridge

    def keep(self, feature: torch.Tensor, time: float) -> None:
        """Join one more feature; the oldest goes."""
        self.matrix = torch.cat([self.matrix[1:], feature[None]])
        self.times = [*self.times[1:], time]

    def fit(self) -> None:
        """Solve for the coefficients, shape (degree + 1, F)."""
        design = self._basis(self.times)
        normal = (design.T @ design).float() + self.ridge * torch.eye(self.degree + 1, device=design.device)
        right = (design.T @ self.matrix).float()  # the solver has no half precision
        self.coefficients = torch.cholesky_solve(right, torch.linalg.cholesky(normal)).to(design.dtype)

    def predict(self, time: float) -> torch.Tensor:
        """Return the forecast at ``time``, shape (F,), from the coefficients of the last `fit`."""
        return (self._basis([time]) @ self.coefficients)[0]

    def _basis(self, times: Sequence[float]) -> torch.Tensor:
        """Chebyshev polynomials at the times, shape (K, degree + 1)."""
        return torch.from_numpy(chebyshev.chebvander(list(times), self.degree)).to(self.matrix)


class HiCache:
    """HiCache (arXiv 2508.16984): repeated differences, and Hermite polynomials in the place of powers.

    Parameters
    ----------
    order : int
    scale : float
        The sigma of its paper.
    """

    def __init__(self, order: int = 2, scale: float = 0.5) -> None:
        self.order, self.scale = order, scale
        self.differences: list[torch.Tensor] = []
        self.step = 0

    def update(self, feature: torch.Tensor, step: int) -> None:
        """Keep the feature of a step and its differences; the last gap divides all of them."""
        new = [feature]
        for old in self.differences[: self.order]:
            new.append((new[-1] - old) / (step - self.step))
        self.differences, self.step = new, step

    def predict(self, step: int) -> torch.Tensor:
        """Return the forecast of a later step."""
        out = self.differences[0]
        for j, difference in enumerate(self.differences[1:], 1):
            polynomial = float(hermite.hermval(self.scale * (step - self.step), [0.0] * j + [1.0]))
            out = out + difference * (self.scale**j * polynomial / math.factorial(j))
        return out
