"""Which prompts does a file hold, and what does each ask for?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Prompt", "batches", "is_words", "read_prompts"]


@dataclass(frozen=True)
class Prompt:
    """One line of a file of prompts.

    Attributes
    ----------
    number : int
        From 0, in the order of the file.
    content : str or int
        What to draw: words, or the number of a class.
    seed : int or None
        Of its starting noise; None where the line has none of its own.
    options : dict
        What else the line gives to the pipeline's call.
    """

    number: int
    content: str | int
    seed: int | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What its files are called, without the ending."""
        return f"{self.number:05d}"


def read_prompts(path: Path) -> list[Prompt]:
    """Read a file of prompts: one a line, or an object of JSON a line where the file's name ends in ``.jsonl``."""
    if not path.is_file():
        raise ValueError(f"`PROMPTS`: there is no file {path}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not lines:
        raise ValueError(f"`PROMPTS`: {path} is empty; write one prompt a line.")
    if path.suffix != ".jsonl":
        return [Prompt(number, line) for number, (_, line) in enumerate(lines)]
    return [_parse(number, line, f"{path}, line {place}") for number, (place, line) in enumerate(lines)]


def batches(prompts: Sequence[Prompt], size: int) -> list[list[Prompt]]:
    """Put prompts that one call can draw together into groups of ``size`` at most.

    The groups depend on the file only, not on the number of processes or on what is already drawn, since a picture may
    depend on its batch in its last bit.
    """
    alike: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        common = {name: value for name, value in prompt.options.items() if not is_words(name, value)}
        words = sorted(prompt.options.keys() - common.keys())
        alike.setdefault(json.dumps([common, words], sort_keys=True), []).append(prompt)
    groups = [group[k : k + size] for group in alike.values() for k in range(0, len(group), size)]
    return sorted(groups, key=lambda group: group[0].number)


def is_words(name: str, value: Any) -> bool:
    """Tell whether an option is a text of which a call takes one for each prompt."""
    return isinstance(value, str) and name.startswith(("prompt", "negative_prompt"))


def _parse(number: int, line: str, where: str) -> Prompt:
    try:
        options = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"`PROMPTS`: {where} is not JSON ({error}).") from error
    if not isinstance(options, dict):
        raise ValueError(f'`PROMPTS`: {where} is no object; write {{"prompt": "a cat", "seed": 3}}.')
    contents = [options.pop(name) for name in ("prompt", "class_label") if name in options]
    seed = options.pop("seed", None)
    if len(contents) != 1 or not isinstance(contents[0], str | int) or isinstance(contents[0], bool):
        raise ValueError(f'`PROMPTS`: {where} needs one "prompt" (words) or one "class_label" (a number).')
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ValueError(f'`PROMPTS`: {where} has "seed": {seed!r}; write a whole number.')
    return Prompt(number, contents[0], seed, options)
