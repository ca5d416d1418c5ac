"""What are estimated errors and tolerances worth? Learnt from runs whose true errors are known."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectral_forecast import metrics
from spectral_forecast.adapters._session import Report
from spectral_forecast.tolerance import Calibration, relative_error

__all__ = ["learnt", "missed"]


def learnt(full: Any, runs: Iterable[tuple[float | str, Any, Report]]) -> Calibration:
    """Return the calibration that runs teach: the tolerance of each, its samples and what it reports."""
    made, events = [], ["`tolerances` are none"]
    for tolerance, samples, report in runs:
        error, events = missed(samples, full), report.events
        if report.sample_error and error:
            made.append((relative_error(tolerance), report.sample_error, error))
    if not made:
        raise ValueError(f"`run`: nothing was forecast, so nothing is learnt of errors: {'; '.join(events)}.")
    return Calibration.fit(*np.transpose(made))


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
