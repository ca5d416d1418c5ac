"""Draw a picture or a video for every prompt of a file, full or accelerated, and go on where a run has stopped.

>>> from spectral_forecast.adapters.diffusers.sampling import Job, sample
>>> sample(Job("model", Path("prompts.txt"), Path("out"), steps=50, evaluations=14))  # doctest: +SKIP

``spectral-forecast sample`` is this on the command line.
"""

import importlib.metadata
import importlib.util
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from tqdm import tqdm

from spectral_forecast import __version__
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.diffusers.sampling.call import arguments, own_arguments, seeded
from spectral_forecast.adapters.diffusers.sampling.files import read_json, write_json, write_picture, write_video
from spectral_forecast.adapters.diffusers.sampling.job import (
    Job,
    accelerated,
    check_budget,
    check_folder,
    device_kind,
    said,
    seed_of,
    settings,
    source,
)
from spectral_forecast.adapters.diffusers.sampling.load import load
from spectral_forecast.adapters.diffusers.sampling.processes import my_share
from spectral_forecast.adapters.diffusers.sampling.prompts import Prompt, batches, read_prompts

__all__ = ["Job", "Outcome", "sample"]


@dataclass
class Outcome:
    """What became of the prompts of this process.

    Attributes
    ----------
    drawn, there : list of str
        Names of the results that were drawn now, and of those that were there already.
    failed : dict of str to str
        What was raised, by name.
    process, processes : int
        Which process this is, of how many.
    """

    drawn: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    process: int = 0
    processes: int = 1


def sample(job: Job) -> Outcome:
    """Draw what is not drawn yet.

    Every prompt gets ``NNNNN.png`` (or a folder ``NNNNN`` of frames) and, last, ``NNNNN.json`` with its statistics;
    ``settings.json`` holds what all have in common. A prompt that raises is noted in its statistics, and drawn again
    by the next run. Several processes that `accelerate launch` has started share the prompts.

    Parameters
    ----------
    job : Job

    Returns
    -------
    Outcome
        Of this process alone.

    Raises
    ------
    ValueError
        If the pipeline cannot be loaded or does not take what it is to be given, if there are no prompts, or if the
        folder was written with other settings.
    """
    if job.batch < 1:
        raise ValueError(f"`batch` is {job.batch}; write 1 or more.")
    check_budget(job)
    prompts = read_prompts(job.prompts)
    folder_or_name = source(job.pipeline)
    if job.mp4 is not None and not all(map(importlib.util.find_spec, ("imageio", "imageio_ffmpeg"))):
        raise ValueError("`mp4` needs imageio and imageio-ffmpeg; install them, or leave it to the frames.")
    kind = device_kind(job.device)
    share = my_share(cpu=kind == "cpu")
    dtype = job.dtype or ("float32" if kind == "cpu" else "bfloat16")
    wanted = settings(job, prompts, kind, dtype)
    check_folder(job.out, wanted)
    outcome = Outcome(process=share.index, processes=share.count)
    groups = batches(prompts, job.batch)[share.index :: share.count]
    todo = [group for group in groups if not all(_is_drawn(job.out, prompt) for prompt in group)]
    outcome.there = [prompt.name for group in groups for prompt in group if _is_drawn(job.out, prompt)]
    if todo:
        pipe = load(folder_or_name, job.variant, dtype, job.device or kind, share)
        calls = [arguments(pipe, group, said(job)) for group in todo]
        if accelerated(job):
            budget = {"evaluations": job.evaluations or None, "tolerance": job.tolerance, "grid": job.grid}
            accelerate(pipe, **budget, calibration=job.calibration, forecaster=job.forecaster, at=job.at)
        job.out.mkdir(parents=True, exist_ok=True)
        write_json(job.out / "settings.json", wanted, f".{share.index}.part")
        _draw(job, pipe, list(zip(todo, calls, strict=True)), outcome)
        if accelerated(job):
            restore(pipe)
    share.wait()
    return outcome


def _is_drawn(out: Path, prompt: Prompt) -> bool:
    """Whether a prompt's statistics are there, which are written last, and its files still are."""
    files = read_json(out / f"{prompt.name}.json").get("files")
    return bool(files) and all((out / file).exists() for file in files)


def _draw(job: Job, pipe: DiffusionPipeline, work: list[tuple[list[Prompt], dict[str, Any]]], outcome: Outcome) -> None:
    """Draw group after group; note what was raised, and go on."""
    work = [(group, call, [prompt for prompt in group if prompt.name not in outcome.there]) for group, call in work]
    there = len(outcome.there)
    with tqdm(
        total=there + sum(len(missing) for *_, missing in work),
        initial=there,
        unit="prompt",
        disable=None if outcome.process == 0 else True,
    ) as bar:
        for group, call, missing in work:
            try:
                _draw_group(job, pipe, group, call, missing)
                outcome.drawn += [prompt.name for prompt in missing]
            except Exception as error:  # whatever a pipeline raises, the other prompts are drawn
                for prompt in missing:
                    outcome.failed[prompt.name] = f"{type(error).__name__}: {error}"
                    noted = {"number": prompt.number, "prompt": prompt.content, "seed": seed_of(job, prompt)}
                    noted |= {"error": outcome.failed[prompt.name], "traceback": traceback.format_exc()}
                    write_json(job.out / f"{prompt.name}.json", noted)
            bar.update(len(missing))


def _draw_group(
    job: Job, pipe: DiffusionPipeline, group: list[Prompt], call: dict[str, Any], missing: list[Prompt]
) -> None:
    """Call the pipeline once, and write what is missing."""
    seeds = [seed_of(job, prompt) for prompt in group]
    with seeded(pipe, call, seeds) as given:
        if pipe.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pipe.device)
        start = time.perf_counter()
        output = pipe(**given)
        seconds = time.perf_counter() - start
    results, is_video = _results(output, len(group))
    noted = {"in_batch": len(group)} | _statistics(job, pipe, seconds / len(group))
    for place, (prompt, result, seed) in enumerate(zip(group, results, seeds, strict=True)):
        if prompt in missing:
            path = job.out / prompt.name
            files = write_video(path, result, job.mp4) if is_video else write_picture(path, result)
            own = {"number": prompt.number, "prompt": prompt.content, "seed": seed, "files": files}
            own |= {"arguments": own_arguments(call, place, len(group))}
            write_json(path.with_name(f"{prompt.name}.json"), own | noted)


def _results(output: Any, count: int) -> tuple[list[Any], bool]:
    """Return one picture or one list of frames for each prompt, and whether they are frames."""
    is_video = hasattr(output, "frames")
    results = output.frames if is_video else getattr(output, "images", None)
    if results is None:
        raise TypeError(f"{type(output).__name__} holds neither images nor frames")
    if len(results) != count:
        raise ValueError(f"the pipeline returned {len(results)} results for {count} prompts")
    return list(results), is_video


def _statistics(job: Job, pipe: DiffusionPipeline, seconds: float) -> dict[str, Any]:
    """What is noted of a call."""
    done = report(pipe).as_dict() if accelerated(job) else None
    scheduler = getattr(pipe, "scheduler", None)
    timesteps = getattr(scheduler, "timesteps", None)
    steps = None if timesteps is None else len(timesteps)  # Heun's method evaluates at each of its twice as many
    peak = torch.cuda.max_memory_allocated(pipe.device) if pipe.device.type == "cuda" else None
    return {
        "seconds": seconds,
        "steps": steps,
        "evaluations": done["evaluations"] if done else steps,
        "report": done,
        "pipeline": type(pipe).__name__,
        "scheduler": type(scheduler).__name__,
        "device": str(pipe.device),
        "dtype": str(pipe.dtype).removeprefix("torch."),
        "gpu_bytes": peak,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    names = ("torch", "diffusers", "transformers")
    installed = {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name)}
    return {"spectral_forecast": __version__} | installed
