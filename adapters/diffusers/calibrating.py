"""Learn what tolerances are worth in any pipeline from a file of prompts, with one process or several.

>>> from spectral_forecast.adapters.diffusers.calibrating import make_calibration
>>> from spectral_forecast.adapters.diffusers.sampling import Job
>>> make_calibration(Job("model", Path("prompts.txt"), Path(), steps=50), Path("model.json"))  # doctest: +SKIP

``spectral-forecast calibrate`` is this on the command line.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline
from tqdm import tqdm

from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.diffusers._calibrate import Trial, learnt, of_tolerances, trial
from spectral_forecast.adapters.diffusers.sampling.call import seeded
from spectral_forecast.adapters.diffusers.sampling.files import write_json
from spectral_forecast.adapters.diffusers.sampling.job import Job
from spectral_forecast.adapters.diffusers.sampling.runs import Ended, Run, my_runs
from spectral_forecast.tolerance import Calibration, relative_error

__all__ = ["Outcome", "load_calibration", "make_calibration"]

TOLERANCES = (0.3, 0.1, 0.03, 0.01)
_SAME = ("steps", "guidance", "grid", "at")  # of a job, for which a calibration is good


@dataclass
class Outcome(Ended):
    """What became of the runs.

    Attributes
    ----------
    calibration : Calibration or None
        Of all processes' runs, in the first process; None in the others.
    trials : list of Trial
        What it was learnt from, a mean for each tolerance.
    failed, process, processes
        As for `Ended`.
    """

    calibration: Calibration | None = None
    trials: list[Trial] = field(default_factory=list)


def make_calibration(
    job: Job,
    path: Path,
    *,
    runs: int = 8,
    tolerances: Sequence[float | str] = TOLERANCES,
    replace: bool = False,
) -> Outcome:
    """Draw prompts in full and with tolerances, and save what the tolerances and the estimated errors were worth.

    A run is a full call of the pipeline for ``job.batch`` prompts, and one more with every tolerance. Processes that
    `accelerate launch` has started share the runs.

    Parameters
    ----------
    job : Job
        As for `sample`; ``out``, ``evaluations``, ``tolerance``, ``calibration``, ``forecaster`` and ``mp4`` are not
        looked at.
    path : Path
        A file of JSON.
    runs : int
        With more runs than the file has prompts for, they are taken again, from other noise. Some ten samples and more
        tell what a few do not.
    tolerances : sequence of float or str
        What is asked for.
    replace : bool
        Whether to write over a file that is there.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the pipeline cannot be loaded or does not take what it is to be given, if there are no prompts, if the file
        is there already, or if nothing was forecast.
    """
    for tolerance in tolerances:
        relative_error(tolerance)
    if path.exists() and not replace:
        raise ValueError(f"`out`: {path} is there already; write another file, or `--replace`.")
    work = my_runs(job, runs)
    share = work.share
    outcome = Outcome(process=share.index, processes=share.count)
    trials: list[Trial] = []
    for run in tqdm(work.todo, unit="run", disable=None if share.index == 0 else True):
        try:
            trials += _trials(work.pipe, run, job, tolerances)
        except Exception as error:  # whatever a pipeline raises, the other runs are made
            outcome.failed[run.number] = f"{type(error).__name__}: {error}"
    trials = share.gather(trials)
    if share.index == 0:
        if not trials:
            raise ValueError(
                f"no run was whole: {'; '.join(dict.fromkeys(outcome.failed.values())) or 'see the others'}"
            )
        outcome.calibration, outcome.trials = learnt(trials), of_tolerances(trials)
        same = {name: getattr(job, name) for name in _SAME}
        write_json(path, {"calibration": outcome.calibration._asdict(), "pipeline": job.pipeline} | same)
    share.wait()
    return outcome


def load_calibration(path: Path, job: Job) -> Calibration:
    """Return the calibration in a file of `make_calibration`.

    Parameters
    ----------
    path : Path
    job : Job
        What it is to be used for.

    Raises
    ------
    ValueError
        If the file holds anything else, or what was learnt with other steps, guidance, grid or place.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        calibration = Calibration(**{name: float(value) for name, value in content["calibration"].items()})
        learnt_with = {name: content[name] for name in _SAME}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"`calibration`: {path} is no file that `spectral-forecast calibrate` has written.") from error
    others = [name for name in _SAME if learnt_with[name] != getattr(job, name)]
    if others:
        changes = ", ".join(f"{name} {learnt_with[name]!r}, now {getattr(job, name)!r}" for name in others)
        raise ValueError(f"`calibration`: {path} was learnt with others ({changes}); learn it again for these.")
    return calibration


def _trials(pipe: DiffusionPipeline, run: Run, job: Job, tolerances: Sequence[float | str]) -> list[Trial]:
    """Call the pipeline in full, and with every tolerance."""

    def samples() -> Any:
        with seeded(pipe, run.call, run.seeds) as given:
            return pipe(**given)[0]

    full, trials = samples(), []
    for tolerance in tolerances:
        accelerate(pipe, tolerance=tolerance, grid=job.grid, at=job.at)
        try:
            trials.append(trial(tolerance, samples(), full, report(pipe)))
        finally:
            restore(pipe)
    return trials
