"""Weights and schedules learned from full runs: everything they need is one small matrix of inner products."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks, schedules
from spectral_forecast._typing import Array, Times, Weights
from spectral_forecast.clock import map_clock
from spectral_forecast.forecasters import profile_file, profile_folder
from spectral_forecast.forecasters.base import LinearRule
from spectral_forecast.gram import append, norm, row

__all__ = ["Profile"]

_BRIEF = 32


@dataclass(frozen=True, eq=False, repr=False)
class Profile(LinearRule):
    r"""Forecast with the weights that were best in full runs of the same model (closed form of L2P and DPCache).

    For evaluated steps S and a later step i the weights minimise the mean over the runs of
    :math:`\|h_i - \sum_{s \in S} w_s h_s\|^2` under :math:`\sum w = 1`, with a small ridge on the weights of the
    differences to the newest feature. That needs the T x T Gram matrix of a run's features and no feature, so one
    profile serves every schedule, and says what a schedule will cost. Made by `Profile.from_runs`.

    Parameters
    ----------
    gram : ndarray of float64, shape (T, T)
        Mean over the runs of the matrix of `spectral_forecast.gram`, all T steps evaluated.
    times : ndarray of float64, shape (T,)
        The run's clock on [-1, 1].
    ridge : float
        Penalty, as a share of the mean squared difference to the newest feature, 0 or more.
    settings : mapping of str to str
        What the runs were made with: model, scheduler, steps, shift, and whatever else matters.

    References
    ----------
    arXiv 2604.26365 (L2P learns the weights by gradient descent), arXiv 2602.22654 (DPCache calibrates schedules).

    Examples
    --------
    >>> import numpy as np
    >>> from spectral_forecast import Profile, make_plan, schedules
    >>> run = [np.array([np.cos(0.3 * i), np.sin(0.3 * i), 1.0]) for i in range(12)]
    >>> profile = Profile.from_runs([run], ridge=0.0, model="circle", scheduler="euler")
    >>> plan = make_plan(profile, np.arange(12), schedules.mask(12, [0, 1, 2]))
    >>> bool(np.allclose(plan.weights[9] @ np.array(run[:3]), run[9]))
    True
    """

    gram: NDArray[np.float64]
    times: NDArray[np.float64]
    ridge: float = 1e-4
    settings: Mapping[str, str] = field(default_factory=dict)

    affine = False
    exactness = 0

    def __post_init__(self) -> None:
        count = _checks.increasing("times", self.times).size
        if np.shape(self.gram) != (count, count) or not np.isfinite(self.gram).all():
            raise ValueError(
                f"`gram` has shape {np.shape(self.gram)}; write the finite ({count}, {count}) matrix of a run."
            )
        _checks.nonnegative("ridge", self.ridge)

    @classmethod
    def from_runs(
        cls,
        runs: Iterable[Sequence[Array]] = (),
        *,
        grams: Iterable[NDArray[np.float64]] = (),
        times: Times | None = None,
        span: tuple[float, float] | None = None,
        ridge: float = 1e-4,
        **settings: object,
    ) -> Self:
        """Return the profile of full runs.

        Parameters
        ----------
        runs : iterable of sequences of T arrays
            The features of every step of each run; each run is read once and not kept.
        grams : iterable of ndarray, shape (T, T)
            Gram matrices of further runs, such as ``GramRun.gram`` after a run that evaluated every step.
        times, span
            The runs' clock, as for `make_plan`; step numbers by default.
        ridge : float
            As for `Profile`.
        settings
            What the runs were made with, as keywords: ``model="FLUX.1-dev", scheduler="flow-euler", shift=3.0``. The
            number of steps is noted by itself.

        Returns
        -------
        Profile
        """
        matrices = [_gram(run) for run in runs] + [np.asarray(gram, dtype=np.float64) for gram in grams]
        shapes = {matrix.shape for matrix in matrices}
        if len(shapes) != 1:
            raise ValueError(f"`runs` and `grams` hold matrices of shapes {sorted(shapes)}; write runs of one length.")
        count = len(matrices[0])
        clock = _checks.increasing("times", np.arange(count) if times is None else times)
        noted = {"steps": str(count), "runs": str(len(matrices))} | {
            name: str(value) for name, value in settings.items()
        }
        return cls(np.mean(matrices, axis=0), map_clock(clock, span), ridge, noted)

    def check(self, **settings: object) -> Self:
        """Return the profile if it was made with these settings, else refuse.

        Raises
        ------
        ValueError
            Naming every setting that differs or that the profile does not know.
        """
        wrong = [
            f"{name} {self.settings.get(name, 'unknown')}, not {value}"
            for name, value in settings.items()
            if self.settings.get(name) != str(value)
        ]
        if wrong:
            raise ValueError(
                f"`profile` was made with {'; '.join(wrong)}. Make one for this run: `Profile.from_runs(...)`."
            )
        return self

    def price(self, evaluate: ArrayLike, increments: ArrayLike | None = None) -> float:
        """Return what a schedule costs: the forecasts' errors in the profiled runs, added up over the run.

        Parameters
        ----------
        evaluate : array_like of bool, shape (T,)
        increments : array_like, shape (T,), optional
            Weight of each step's error, such as the absolute change of sigma; 1 by default.

        Returns
        -------
        float
            In units of the features' norm.
        """
        mask = _checks.mask("evaluate", evaluate, self.times.size)
        weights = np.ones(mask.size) if increments is None else self._increments(increments)
        edges, total = np.append(np.flatnonzero(mask), mask.size), 0.0
        for k, (start, stop) in enumerate(itertools.pairwise(edges), start=1):
            if stop > start + 1:
                skipped = np.arange(start + 1, stop)
                total += float(weights[skipped] @ self._errors(edges[:k], skipped))
        return total

    def schedule(self, budget: int, increments: ArrayLike | None = None) -> NDArray[np.bool_]:
        """Return a good schedule of ``budget`` evaluations: greedy insertion, then moves of one evaluation.

        Parameters
        ----------
        budget : int
            Number of evaluations, 1 to T.
        increments : array_like, shape (T,), optional
            As for `price`.

        Returns
        -------
        ndarray of bool, shape (T,)
            No move of a single evaluation by up to three steps makes it cheaper.
        """
        count = self.times.size
        if _checks.integer("budget", budget, least=1) > count:
            raise ValueError(f"`budget` is {budget} of a run of {count} steps; write {count} or less.")

        def cost(steps: Sequence[int]) -> float:
            return self.price(schedules.mask(count, steps), increments)

        def moved(steps: Sequence[int]) -> Iterator[list[int]]:
            for old, shift in itertools.product(steps[1:], (-3, -2, -1, 1, 2, 3)):
                if old + shift in range(count) and old + shift not in steps:
                    yield sorted({*steps, old + shift} - {old})

        steps = [0]
        while len(steps) < budget:
            steps = min((sorted([*steps, i]) for i in range(count) if i not in steps), key=cost)
        while True:
            best = cost(steps) * (1.0 - 1e-12)
            cheaper = next((other for other in moved(steps) if cost(other) < best), None)
            if cheaper is None:
                return schedules.mask(count, steps)
            steps = cheaper

    def predicted_error(self, evaluate: ArrayLike, increments: ArrayLike) -> float:
        r"""Return how far a schedule's forecasts move the end of a run at most, relative to how far the run goes.

        Parameters
        ----------
        evaluate : array_like of bool, shape (T,)
        increments : array_like, shape (T,)
            What each step multiplies its feature by, :math:`\sigma_{i+1} - \sigma_i` in Euler's method.

        Returns
        -------
        float
            :math:`\sum_i |\Delta_i| \|\hat h_i - h_i\| / \|\sum_i \Delta_i h_i\|`, with root mean squares over the
            profiled runs: as if no two steps' errors cancelled. What they make of later features is not in it, nor what
            a corrector mends.

        Examples
        --------
        >>> import numpy as np
        >>> from spectral_forecast import Profile
        >>> profile = Profile.from_runs([np.array([[1.0], [2.0], [5.0]])])
        >>> profile.predicted_error([True, False, True], [1.0, 1.0, 1.0])  # 2 is taken for 1, on a way of 8
        0.125
        """
        steps = self._increments(increments)
        way = norm(self.gram, steps)
        return self.price(evaluate, np.abs(steps)) / way if way else 0.0

    def save(self, path: str | Path) -> Path:
        """Write the profile to a file: safetensors, or JSON if the name ends in ``.json``. T (T + 1) / 2 numbers.

        Parameters
        ----------
        path : str or Path
            A text without a slash and without an ending is a name, and the file lies in a folder of the user's
            (`profile_folder.folder`, or the variable ``SPECTRAL_FORECAST_PROFILES``). Everything else is a path.

        Returns
        -------
        Path
            Where it lies.

        Raises
        ------
        ValueError
            If the name has other than letters, digits, dots, dashes and underscores, or the profile more than 1000
            steps.
        """
        file = profile_folder.place(path)
        if file != Path(path):
            file.parent.mkdir(parents=True, exist_ok=True)
        try:
            profile_file.write(file, profile_file.Contents(self.gram, self.times, self.ridge, self.settings))
        except ValueError as error:
            raise ValueError(f"`path` {file} cannot hold {self!r}: {error}.") from error
        return file

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the profile that `save` wrote, exactly.

        Parameters
        ----------
        path : str or Path
            A name or a path, as for `save`.

        Raises
        ------
        ValueError
            If there is no such file, or if it holds anything but what `save` wrote. Nothing in a file is run.
        """
        file = profile_folder.place(path)
        try:
            return cls(*profile_file.read(file))
        except ValueError as error:
            known = profile_folder.names() if file != Path(path) else []
            there = f" There are profiles of these names: {', '.join(known)}." if known else ""
            raise ValueError(
                f"`path` {file} holds no profile: {error}. Write a file that `Profile.save` made.{there}"
            ) from error

    @property
    def digest(self) -> str:
        """Twelve letters that tell this profile from every other one."""
        content = [
            self.gram.tobytes(),
            self.times.tobytes(),
            repr((self.ridge, sorted(self.settings.items()))).encode(),
        ]
        return hashlib.sha256(b"\n".join(content)).hexdigest()[:12]

    def __repr__(self) -> str:
        brief = {name: text if len(text) <= _BRIEF else f"{text[:_BRIEF]}…" for name, text in self.settings.items()}
        return f"<Profile of {self.times.size} steps: {brief}, ridge {self.ridge:g}, digest {self.digest}>"

    def _weights(self, times: NDArray[np.float64], t: float) -> Weights:
        steps = self._steps(np.append(times, t))
        return self._solve(steps[:-1], steps[-1:])[:, 0]

    def _increments(self, values: ArrayLike) -> NDArray[np.float64]:
        """One finite number for each step."""
        increments = np.asarray(values, dtype=np.float64)
        if increments.shape != self.times.shape or not np.isfinite(increments).all():
            raise ValueError(f"`increments` has shape {increments.shape}; write a finite number for each step.")
        return increments

    def _steps(self, times: NDArray[np.float64]) -> NDArray[np.intp]:
        """The profile's steps at these times, all of which must be its own."""
        steps = np.argmin(np.abs(self.times[None, :] - times[:, None]), axis=1)
        gap = float(np.min(np.diff(self.times), initial=2.0))
        strange = np.abs(self.times[steps] - times) > 1e-6 * gap
        if strange.any():
            raise ValueError(
                f"`times` hold {times[strange][0]:.9g}, which is none of the {self.times.size} steps of {self}. "
                "A profile serves the clock it was made with: the same number of steps, `times` and `span`."
            )
        return np.asarray(steps)

    def _affine(self, steps: NDArray[np.intp]) -> NDArray[np.float64]:
        """Inner products of the differences of all steps to the last of ``steps``."""
        change = np.eye(len(self.gram))
        change[:, steps[-1]] -= 1.0
        # In the matrix's own vectors: differences to the newest step, whose coefficient drops out of a difference.
        change[:, -1] = 0.0
        return np.asarray(change @ self.gram @ change.T)

    def _solve(self, steps: NDArray[np.intp], targets: NDArray[np.intp]) -> NDArray[np.float64]:
        """Best weights of the features at ``steps`` for each target, shape (steps, targets)."""
        products = self._affine(steps)
        before = steps[:-1]
        system, right = products[np.ix_(before, before)], products[np.ix_(before, targets)]
        total = float(np.trace(system))
        values, vectors = np.linalg.eigh(system)
        penalised = values + self.ridge * total / max(len(before), 1)
        usable = penalised > 1e-15 * total
        vectors, penalised = vectors[:, usable], penalised[usable]
        w = vectors @ (vectors.T @ right / penalised[:, None])
        return np.concatenate([w, 1.0 - np.sum(w, axis=0, keepdims=True)])

    def _errors(self, steps: NDArray[np.intp], targets: NDArray[np.intp]) -> NDArray[np.float64]:
        """Norms of the forecasts' errors at ``targets``."""
        products = self._affine(steps)
        w = self._solve(steps, targets)[:-1]
        c = np.zeros((len(self.gram), len(targets)))
        c[targets, np.arange(len(targets))] = 1.0
        c[steps[:-1]] -= w
        return np.asarray(np.sqrt(np.maximum(np.sum(c * (products @ c), axis=0), 0.0)))


def _gram(run: Sequence[Array]) -> NDArray[np.float64]:
    matrix = np.zeros((0, 0))
    for k, feature in enumerate(run):
        matrix = append(matrix, row(run[:k], feature))
    return matrix
