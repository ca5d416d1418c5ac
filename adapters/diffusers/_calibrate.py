"""What are estimated errors and tolerances worth? Learnt from runs whose true errors are known."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast import metrics
from spectral_forecast.adapters._session import Report
from spectral_forecast.tolerance import Calibration, relative_error

__all__ = ["Trial", "learnt", "missed", "of_tolerances", "trial"]


class Trial(NamedTuple):
    """A call of a pipeline with a tolerance, next to the same one in full.

    Attributes
    ----------
    tolerance : float
    estimate : float
        What the report says of the samples' error; 0 where it says nothing.
    error : float
        The true one, the mean over the samples.
    samples, evaluations : int
    events : tuple of str
        Of the report.
    """

    tolerance: float
    estimate: float
    error: float
    samples: int
    evaluations: int
    events: tuple[str, ...] = ()


def trial(tolerance: float | str, samples: Any, full: Any, report: Report) -> Trial:
    """Return what a call says: its samples, the full one's, and what it reports."""
    estimate, count = report.sample_error or 0.0, len(_rows(full))
    return Trial(
        relative_error(tolerance), estimate, missed(samples, full), count, report.evaluations, tuple(report.events)
    )


def of_tolerances(trials: Iterable[Trial]) -> list[Trial]:
    """Return means over samples, one for each tolerance, the largest first; of calls in which something was told."""
    found: dict[float, list[Trial]] = {}
    for one in trials:
        if one.estimate and one.error:
            found.setdefault(one.tolerance, []).append(one)
    return [_mean(found[tolerance]) for tolerance in sorted(found, reverse=True)]


def _mean(trials: Sequence[Trial]) -> Trial:
    counts = [one.samples for one in trials]
    columns = ([getattr(one, name) for one in trials] for name in ("estimate", "error", "evaluations"))
    estimate, error, evaluations = (float(np.average(column, weights=counts)) for column in columns)
    return Trial(trials[0].tolerance, estimate, error, sum(counts), round(evaluations))


def learnt(trials: Sequence[Trial]) -> Calibration:
    """Return the calibration that trials teach."""
    made = of_tolerances(trials)
    if not made:
        events = list(dict.fromkeys(event for one in trials for event in one.events)) or ["`tolerances` are none"]
        raise ValueError(f"`run`: nothing was forecast, so nothing is learnt of errors: {'; '.join(events)}.")
    return Calibration.fit(*np.transpose([(one.tolerance, one.estimate, one.error) for one in made]))


def missed(samples: Any, full: Any) -> float:
    """Return the relative error of a batch of samples: the mean over its items.

    A root mean square would be that of the one sample in twenty whose trajectory forks.
    """
    ours, true = _rows(samples), _rows(full)
    if ours.shape != true.shape or not (np.isfinite(ours).all() and np.isfinite(true).all()):
        raise ValueError(f"`run` returned {true.shape}, then {ours.shape} numbers; return samples, finite and alike.")
    if not true.any(axis=1).all():
        raise ValueError("`run` returned a sample that is 0 everywhere, of which no error is relative to anything.")
    return float(np.mean([metrics.relative_error(*pair) for pair in zip(ours, true, strict=True)]))


def _rows(samples: Any) -> NDArray[np.float64]:
    """The numbers of every item of a batch; of a list, the items are in it."""
    if isinstance(samples, torch.Tensor):
        samples = samples.detach().double().cpu().numpy()
    array = np.asarray(samples, dtype=np.float64)
    return array.reshape(len(array) if array.ndim > 1 else 1, -1)
