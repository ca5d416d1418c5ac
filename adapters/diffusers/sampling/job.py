"""What is to be drawn, and does a folder hold results of just this?"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from spectral_forecast import LinearForecaster
from spectral_forecast.adapters.diffusers.sampling.files import read_json
from spectral_forecast.adapters.diffusers.sampling.prompts import Prompt
from spectral_forecast.tolerance import Calibration, relative_error

__all__ = ["Job", "accelerated", "check_budget", "check_folder", "device_kind", "said", "seed_of", "settings", "source"]


@dataclass(frozen=True)
class Job:
    """What is to be drawn, and how.

    Attributes
    ----------
    pipeline : str
        A folder that ``save_pretrained`` has written, or a name on the hub.
    prompts : Path
        One prompt a line; or, in a file ``*.jsonl``, one object a line, with ``prompt`` (or ``class_label``) and any
        of ``seed``, ``steps``, ``guidance``, ``frames`` and the arguments of the pipeline's call. For a pipeline of
        classes a line is a number.
    out : Path
        Folder for the results, made if it is missing.
    steps : int, optional
        Steps of a run; without it, the pipeline's own.
    evaluations : int
        Steps at which the network runs; 0 for all of them, without `accelerate`.
    tolerance : float or str, optional
        Instead of ``evaluations``: the relative error of the sample, as in `accelerate`.
    calibration : Calibration, optional
        What tolerances are worth, as in `accelerate`.
    grid : int, optional
        As in `accelerate`.
    forecaster, at
        As in `accelerate`.
    guidance : float, optional
        ``guidance_scale``, or ``true_cfg_scale`` in pipelines that have only this.
    seed : int
        Prompt number n, from 0, starts from noise of seed + n, unless its line has a seed of its own.
    dtype : str, optional
        "float32", "float16" or "bfloat16"; by default bfloat16 on accelerators and float32 on the CPU.
    device : str, optional
        By default the first of cuda, mps and cpu that is there, with the process's own number.
    batch : int
        Prompts a call.
    height, width, frames : int, optional
        Size of the results; without it, the pipeline's own.
    variant : str, optional
        Which of the pipeline's files to load, as in "fp16".
    options : mapping
        Anything else for the pipeline's call.
    mp4 : int, optional
        Write videos as films too, with so many frames a second. Needs imageio and imageio-ffmpeg.
    """

    pipeline: str
    prompts: Path
    out: Path
    steps: int | None = None
    evaluations: int = 0
    tolerance: float | str | None = None
    calibration: Calibration | None = None
    grid: int | None = None
    forecaster: LinearForecaster | None = None
    at: Literal["output", "features"] = "output"
    guidance: float | None = None
    seed: int = 0
    dtype: str | None = None
    device: str | None = None
    batch: int = 1
    height: int | None = None
    width: int | None = None
    frames: int | None = None
    variant: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    mp4: int | None = None


def accelerated(job: Job) -> bool:
    """Whether some steps are to be forecast."""
    return bool(job.evaluations) or job.tolerance is not None


def check_budget(job: Job) -> None:
    """Refuse what says how many steps to evaluate twice or not at all."""
    if job.evaluations < 0:
        raise ValueError(f"`evaluations` is {job.evaluations}; write 1 or more, or 0 for the full run.")
    if job.tolerance is not None:
        relative_error(job.tolerance)
        if job.evaluations:
            raise ValueError("`evaluations` and `tolerance` are two budgets; write one.")
        if job.forecaster is not None:
            raise ValueError("`tolerance` goes with the default forecaster; write `evaluations`.")
    elif job.calibration is not None:
        raise ValueError("`calibration` goes with `tolerance`; write the error that the samples may have.")
    if job.grid is not None and not accelerated(job):
        raise ValueError("`grid` goes with `evaluations` or `tolerance`; write how many steps to evaluate.")


def said(job: Job) -> dict[str, Any]:
    """What the pipeline is to be called with, for all prompts."""
    words = {word: getattr(job, word) for word in ("steps", "guidance", "height", "width", "frames")}
    return {word: value for word, value in words.items() if value is not None} | dict(job.options)


def seed_of(job: Job, prompt: Prompt) -> int:
    """The seed of a prompt's starting noise."""
    return job.seed + prompt.number if prompt.seed is None else prompt.seed


def source(name: str) -> str:
    """A folder with a pipeline in it, or a name on the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise ValueError(
                f"`PIPELINE`: {folder} holds no model_index.json; write what `save_pretrained` has filled."
            )
        return str(folder)
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise ValueError(f"`PIPELINE`: there is no folder {folder}.")
    return name


def device_kind(device: str | None) -> str:
    """The kind of device: "cpu", "cuda" and so on."""
    if device is not None:
        return torch.device(device).type
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def settings(job: Job, prompts: list[Prompt], kind: str, dtype: str) -> dict[str, Any]:
    """What all results of a folder have in common, as JSON gives it back."""
    found = {name: value for name, value in vars(job).items() if name not in ("out", "prompts", "forecaster", "at")}
    text = json.dumps([asdict(prompt) for prompt in prompts], sort_keys=True)
    found |= {"dtype": dtype, "device": kind, "options": dict(job.options)}
    found |= {"prompts": len(prompts), "prompts_sha256": hashlib.sha256(text.encode()).hexdigest()}
    # Folders that were written before there were these hold nothing of them.
    later = ("tolerance", "calibration", "grid")
    found = {name: value for name, value in found.items() if name not in later or value is not None}
    if accelerated(job):
        found |= {"forecaster": repr(job.forecaster), "at": job.at}
    return dict(json.loads(json.dumps(found)))


def check_folder(out: Path, wanted: dict[str, Any]) -> None:
    """Refuse a folder that holds anything but results with these settings."""
    found = read_json(out / "settings.json")
    if found and found != wanted:
        names = sorted(name for name in found | wanted if found.get(name) != wanted.get(name))
        changes = ", ".join(f"{name} {found.get(name)!r}, now {wanted.get(name)!r}" for name in names)
        raise ValueError(f"`OUT`: {out} was written with other settings ({changes}); write another folder.")
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    # Another process of this run may have begun to write, but always `settings.json` first.
    if names and not any(name.startswith("settings.json") for name in names):
        raise ValueError(f"`OUT`: {out} holds other things, as {names[0]}, and no settings.json; write another folder.")
