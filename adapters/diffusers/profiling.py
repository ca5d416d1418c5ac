"""Make a profile of any pipeline from a file of prompts, with one process or several.

>>> from spectral_forecast.adapters.diffusers.profiling import make_profile
>>> from spectral_forecast.adapters.diffusers.sampling import Job
>>> make_profile(Job("model", Path("prompts.txt"), Path(), steps=50), "model-50", runs=16)  # doctest: +SKIP

``spectral-forecast profile`` is this on the command line.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from spectral_forecast import Profile
from spectral_forecast.adapters.diffusers import record
from spectral_forecast.adapters.diffusers._profiled import increments, planned
from spectral_forecast.adapters.diffusers._record import Recorded, merged
from spectral_forecast.adapters.diffusers.sampling.call import seeded
from spectral_forecast.adapters.diffusers.sampling.job import Job
from spectral_forecast.adapters.diffusers.sampling.runs import Ended, Runs, my_runs
from spectral_forecast.forecasters import profile_folder

__all__ = ["Outcome", "Prediction", "make_profile", "predictions"]


@dataclass(frozen=True)
class Prediction:
    """What a profile expects of a number of evaluations.

    Attributes
    ----------
    evaluations : int
    evaluate : ndarray of bool, shape (T,)
        The profile's own schedule.
    error : float or None
        `Profile.predicted_error`; None where the scheduler's noise levels are not known.
    """

    evaluations: int
    evaluate: Any
    error: float | None


@dataclass
class Outcome(Ended):
    """What became of the runs.

    Attributes
    ----------
    profile : Profile or None
        Of all processes' runs, in the first process; None in the others.
    path : Path
        Where it lies.
    failed, process, processes
        As for `Ended`.
    """

    profile: Profile | None
    path: Path


def make_profile(job: Job, name: str, *, runs: int = 16, ridge: float = 1e-4, replace: bool = False) -> Outcome:
    """Draw prompts with every step evaluated, and save the profile of these runs; their pictures are not kept.

    A run is one call of the pipeline, for ``job.batch`` prompts. With more runs than the file has prompts for, they are
    taken again, from other noise. Several processes that `accelerate launch` has started share the runs; the first
    one merges what they recorded, and the profile is that of one process.

    Parameters
    ----------
    job : Job
        As for `sample`; ``out``, ``evaluations``, ``forecaster`` and ``mp4`` are not looked at.
    name : str
        A name or a path, as for `Profile.save`.
    runs : int
        Number of runs. One to sixteen are enough.
    ridge : float
        As for `Profile`.
    replace : bool
        Whether to write over a profile that is there.

    Returns
    -------
    Outcome

    Raises
    ------
    ValueError
        If the pipeline cannot be loaded or does not take what it is to be given, if there are no prompts, if the
        profile is there already, if no run was whole, or if the runs differ in steps or noise levels.
    """
    path = profile_folder.place(name)
    if path.exists() and not replace:
        raise ValueError(f"`out`: {path} is there already; write another name, or `--replace`.")
    work = my_runs(job, runs)
    share = work.share
    outcome = Outcome(None, path, process=share.index, processes=share.count)
    recorded = sorted(share.gather(_record(work, job.at, outcome)), key=lambda item: item[0])
    if share.index == 0:
        if not recorded:
            why = "; ".join(dict.fromkeys(outcome.failed.values()))
            raise ValueError(f"no whole run was recorded: {why or 'see the other processes'}")
        outcome.profile = merged([run for _, run in recorded], ridge=ridge)
        outcome.profile.save(name)
    share.wait()
    return outcome


def predictions(profile: Profile, evaluations: list[int]) -> list[Prediction]:
    """Return what a profile of `record` expects of each number of evaluations."""
    steps = increments(profile)
    found = []
    for count in evaluations:
        evaluate = planned(profile, count)
        error = None if steps is None else profile.predicted_error(evaluate, steps)
        found.append(Prediction(count, evaluate, error))
    return found


def _record(work: Runs, at: Any, outcome: Outcome) -> list[tuple[int, Recorded]]:
    """Call the pipeline for run after run; note what was raised, and go on."""
    found: list[tuple[int, Recorded]] = []
    if work.pipe is None:
        return found
    with (
        record(work.pipe, at=at) as recorder,
        tqdm(total=len(work.todo), unit="run", disable=None if outcome.process == 0 else True) as bar,
    ):
        for run in work.todo:
            before = len(recorder.runs)
            try:
                with seeded(work.pipe, run.call, run.seeds) as given:
                    work.pipe(**given)
            except Exception as error:  # whatever a pipeline raises, the other runs are made
                outcome.failed[run.number] = f"{type(error).__name__}: {error}"
            recorder.collect()
            if len(recorder.runs) == before:
                outcome.failed.setdefault(run.number, recorder.left_out[-1] if recorder.left_out else "it ran nothing")
            found += [(run.number, one) for one in recorder.runs[before:]]
            bar.update()
    return found
