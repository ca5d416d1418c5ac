"""What is a pipeline called with, run after run, where pictures are not what is wanted?"""

import inspect
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from diffusers import DiffusionPipeline

from spectral_forecast.adapters.diffusers.sampling.call import arguments
from spectral_forecast.adapters.diffusers.sampling.job import Job, device_kind, said, seed_of, source
from spectral_forecast.adapters.diffusers.sampling.load import load
from spectral_forecast.adapters.diffusers.sampling.processes import Share, my_share
from spectral_forecast.adapters.diffusers.sampling.prompts import batches, read_prompts

__all__ = ["Ended", "Run", "Runs", "my_runs"]


@dataclass(kw_only=True)
class Ended:
    """What became of this process's runs.

    Attributes
    ----------
    failed : dict of int to str
        What was raised, or why a run does not count, by its number.
    process, processes : int
        Which process this is, of how many.
    """

    failed: dict[int, str] = field(default_factory=dict)
    process: int = 0
    processes: int = 1


class Run(NamedTuple):
    """One call of a pipeline."""

    number: int
    call: dict[str, Any]
    seeds: list[int]


@dataclass
class Runs:
    """The runs of one process, and the pipeline; None where there are more processes than runs."""

    share: Share
    pipe: DiffusionPipeline | None = None
    todo: list[Run] = field(default_factory=list)


def my_runs(job: Job, count: int) -> Runs:
    """Load the pipeline of a job, and return what this process is to call it with in ``count`` runs of all processes.

    A run is one call, for ``job.batch`` prompts. With more runs than the file has prompts for, they are taken again,
    from other noise. Nobody looks at the pictures: where a pipeline can leave out the decoding of latents, it does.
    """
    for word, value in (("runs", count), ("batch", job.batch)):
        if value < 1:
            raise ValueError(f"`{word}` is {value}; write 1 or more.")
    prompts, folder_or_name = read_prompts(job.prompts), source(job.pipeline)
    kind = device_kind(job.device)
    share = my_share(cpu=kind == "cpu")
    if share.gather is None:
        raise ValueError(f"{share.count} processes cannot share what they record; start them with `accelerate launch`.")
    groups, mine = batches(prompts, job.batch), range(count)[share.index :: share.count]
    runs = Runs(share)
    if mine:
        dtype = job.dtype or ("float32" if kind == "cpu" else "bfloat16")
        runs.pipe = load(folder_or_name, job.variant, dtype, job.device or kind, share)
        latent = "output_type" in inspect.signature(runs.pipe.__call__).parameters
        for number in mine:
            again, place = divmod(number, len(groups))
            call = arguments(runs.pipe, groups[place], said(job)) | ({"output_type": "latent"} if latent else {})
            seeds = [seed_of(job, prompt) + again * len(prompts) for prompt in groups[place]]
            runs.todo.append(Run(number, call, seeds))
    return runs
