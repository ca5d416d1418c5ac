"""What is supported, in short: the README's list, from the table of networks and the schedulers' limits."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spectral_forecast.adapters.diffusers import Limits, limits
from spectral_forecast.benchmarks.any_scheduler import SCHEDULERS
from spectral_forecast.benchmarks.models import MODELS, Model

__all__ = ["BEGIN", "END", "UNTIMED", "family", "listing", "rewrite", "scheduler_limits"]

BEGIN = "<!-- Made by `python -m spectral_forecast.benchmarks.supported`: begin -->"
END = "<!-- end -->"
# Their forward takes no time that could tell the steps apart.
UNTIMED = ("Cosmos3OmniTransformer", "RFD4ProteinaTransformer", "T5FilmDecoder", "UVit2DModel")
KINDS = ("image", "video", "video and sound", "sound")
_ENDINGS = re.compile(r"(?<=.)(Transformer([123]D)?(Model)?|(?<=DiT)(2D)?Model)$")


def family(name: str) -> str:
    """Return a class's name without what all of them have.

    >>> [family(name) for name in ("WanTransformer3DModel", "HunyuanDiT2DModel", "Transformer2DModel", "UNet2DModel")]
    ['Wan', 'HunyuanDiT', 'Transformer2DModel', 'UNet2DModel']
    """
    return _ENDINGS.sub("", name)


def listing() -> str:
    """Return the list in Markdown."""
    plain = [model for model in MODELS if not model.note]
    networks = [f"{kind}: {_names(m for m in plain if m.kind == kind and m.splits)}" for kind in KINDS]
    networks += [f"outputs only, since {remark}: {names}" for remark, names in _refused(plain)]
    networks.append(f"not at all, since they are not called with a time: {', '.join(UNTIMED)}")
    lines = [BEGIN, "", f"**Networks**, {len({model.name for model in plain})} classes of diffusers:", ""]
    lines += [*map(_item, networks), "", "**Schedulers**:", ""]
    lines += [_item(f"{words}: {names}") for words, names in _schedulers()]
    return "\n".join([*lines, "", END])


def _item(text: str) -> str:
    return textwrap.fill(f"* {text}", 120, subsequent_indent="  ", break_on_hyphens=False)


def _names(models: Iterable[Model]) -> str:
    return ", ".join(sorted({family(model.name) for model in models}, key=str.lower))


def _refused(models: Sequence[Model]) -> list[tuple[str, str]]:
    """Reasons why features cannot be forecast, each with the networks that it holds for."""
    reasons = dict.fromkeys(model.remark for model in models if model.remark)
    return [(reason, _names(model for model in models if model.remark == reason)) for reason in reasons]


def _schedulers() -> list[tuple[str, str]]:
    """What schedulers allow, each with those that it holds for, from most to least."""
    groups: dict[Limits, list[str]] = {}
    for name, kind in SCHEDULERS.items():
        limit = limits(kind.make(), eta=1.0 if name == "DDIM, eta = 1" else 0.0)
        groups.setdefault(limit._replace(correct=False, tail=None), []).append(
            name.removesuffix(", flow").replace(", ", " with ")
        )
    words = {None: "any number of forecasts in a row", 0: "no forecasts", 1: "one forecast in a row"}
    most_first = sorted(groups, key=lambda limit: -math.inf if limit.max_skip is None else -limit.max_skip)
    return [
        (f"{words[limit.max_skip]}, since {limit.why}", ", ".join(dict.fromkeys(groups[limit]))) for limit in most_first
    ]


def scheduler_limits() -> list[dict[str, Any]]:
    """Return what the adapter keeps to with every scheduler of the table, as plain data."""
    found = []
    for name, kind in SCHEDULERS.items():
        scheduler = kind.make()
        limit = limits(scheduler, eta=1.0 if name == "DDIM, eta = 1" else 0.0)
        numbers = {"max_skip": limit.max_skip, "tail": limit.tail, "correct": limit.correct}
        found.append({"name": name, "class": type(scheduler).__name__, **numbers, "why": limit.why})
    return found


def rewrite(path: Path) -> None:
    """Put the list between its two marks in a page."""
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{path} has no section between `{BEGIN}` and `{END}`.")
    path.write_text(before + listing() + after, encoding="utf-8")
