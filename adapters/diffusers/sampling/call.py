"""What is a pipeline called with, for some prompts and options? Its own signature says what it takes."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline

from spectral_forecast.adapters.diffusers.sampling.prompts import Prompt, is_words

__all__ = ["arguments", "own_arguments", "seeded"]

# Our short words for what pipelines call by different names.
_ALIASES = {
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale", "true_cfg_scale"),
    "frames": ("num_frames", "video_length"),
}
_OURS = {
    "prompt": "give it in the file of prompts",
    "class_labels": "give them in the file of prompts",
    "generator": "write `seed`",
    "latents": "write `seed`",
    "batch_size": "write `--batch`",
    "num_images_per_prompt": "write the prompt twice",
    "num_videos_per_prompt": "write the prompt twice",
    "output_type": "results are written as PNG",
    "return_dict": "results are written as PNG",
}


def arguments(pipe: DiffusionPipeline, group: list[Prompt], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the pipeline is called with for a group of prompts and what was said for all; no generators yet."""
    name = type(pipe).__name__
    parameters = inspect.signature(pipe.__call__).parameters
    content = next((word for word in ("prompt", "class_labels") if word in parameters), None)
    if content is None:
        raise ValueError(f"`PIPELINE`: {name} takes neither a prompt nor class labels.")
    call = _named(said, parameters, name)
    call |= _named(group[0].options, parameters, name, f"prompt {group[0].name}: ")
    for word in [word for word, value in call.items() if is_words(word, value)]:
        call[word] = _one_or_all([prompt.options.get(word, call[word]) for prompt in group])
    if content == "prompt":
        call["prompt"] = _one_or_all([str(prompt.content) for prompt in group])
    else:
        call["class_labels"] = [_label(prompt, name) for prompt in group]
    call |= {word: value for word, value in (("batch_size", len(group)), ("output_type", "pil")) if word in parameters}
    needed = [p.name for p in parameters.values() if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    missing = [word for word in needed if word not in call and word != "self"]
    if missing:
        raise ValueError(f"`PIPELINE`: {name} needs {', '.join(missing)}, which no file of prompts can hold.")
    return call


def own_arguments(call: Mapping[str, Any], place: int, count: int) -> dict[str, Any]:
    """Return what a call was given for one of its prompts."""
    lists = ("prompt", "negative_prompt", "class_labels")
    return {
        name: value[place] if isinstance(value, list) and len(value) == count and name.startswith(lists) else value
        for name, value in call.items()
    }


@contextmanager
def seeded(pipe: DiffusionPipeline, call: Mapping[str, Any], seeds: list[int]) -> Iterator[dict[str, Any]]:
    """Give a call its generators; what is drawn meanwhile without one depends on the first seed."""
    given = dict(call)
    if "generator" in inspect.signature(pipe.__call__).parameters:
        # On the CPU, so that every device starts from the same noise.
        given["generator"] = _one_or_all([torch.Generator().manual_seed(seed) for seed in seeds])
    with torch.random.fork_rng([pipe.device] if pipe.device.type == "cuda" else []):
        torch.manual_seed(seeds[0])
        yield given


def _one_or_all(values: list[Any]) -> Any:
    """Some pipelines take one prompt only, and no list of it."""
    return values[0] if len(values) == 1 else values


def _named(said: Mapping[str, Any], parameters: Mapping[str, Any], pipeline: str, where: str = "") -> dict[str, Any]:
    """Return options under the names that the pipeline has for them."""
    call = {}
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for word, value in said.items():
        if word in _OURS:
            raise ValueError(f"{where}`{word}` is not an option here; {_OURS[word]}.")
        names = [name for name in _ALIASES.get(word, (word,)) if name in parameters]
        if not names and not anything:
            raise ValueError(f"{where}`{word}`: {pipeline} does not take it; it takes {', '.join(sorted(parameters))}.")
        call[names[0] if names else word] = value
    return call


def _label(prompt: Prompt, pipeline: str) -> int:
    try:
        return int(prompt.content)
    except ValueError as error:
        raise ValueError(
            f"`PROMPTS`: prompt {prompt.name} is {prompt.content!r}; {pipeline} draws classes, write a number."
        ) from error
