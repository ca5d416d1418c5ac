"""Which networks of diffusers can be forecast, and where? Runs the table of `models` and writes it as Markdown.

Run it with ``python -m spectral_forecast.benchmarks.supported``; it writes docs/supported.md, the README's list and
the data that ``spectral-forecast models`` prints.
"""

import argparse
import functools
import importlib.metadata
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch

from spectral_forecast import make_plan, schedules, spectrum
from spectral_forecast.adapters.diffusers import accelerate, report, restore
from spectral_forecast.adapters.diffusers._split import block_lists
from spectral_forecast.benchmarks.known import KNOWN
from spectral_forecast.benchmarks.listing import UNTIMED, rewrite, scheduler_limits
from spectral_forecast.benchmarks.models import MODELS, TIMES, Model, run

__all__ = ["data", "main", "measure", "table"]

EVALUATED = (0, 1, 2, 5)
HEADER = """# Networks of diffusers that can be forecast

Made by `python -m spectral_forecast.benchmarks.supported` with diffusers {diffusers} and PyTorch {torch}.

Each class is built tiny with random weights and called {steps} times, with {evaluations} evaluations and with all of
them. *Output*: outputs were forecast, and with every step evaluated they are the plain network's bit for bit.
*Features*: the same with the blocks skipped, and resuming from a feature gave its result. *Skipped*: the share of the
parameters that lie in the skipped blocks, and *feature*: how many numbers are kept of an image token for each number
of its output, both for the configuration that the class has by default ({tiny}: for the tiny one). Kept features hold
the text tokens too where the last block mixes them in.

{count} classes at output, {split} of them at features; in brackets, other ways to use one.
"""
TINY = "\\*"


class Row(NamedTuple):
    """What was measured of one network."""

    model: Model
    output: bool
    features: bool
    skipped: float  # share of the parameters; nan without features
    width: float  # kept numbers a token by numbers of output a token; nan without features
    default: bool  # whether these two are of the class's default configuration
    remark: str


def measure(model: Model) -> Row:
    """Run one network of the table plain and accelerated, at output and at features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = model.build()
        full = run(network, model)
        head = _head(network, model)
        output, _, _ = _try(network, model, "output", full)
        features, remark, groups = _try(network, model, "features", full)
        if not features:
            return Row(model, output, features, np.nan, np.nan, False, remark)  # noqa: FBT003 - a field of a row
        skipped, width = _sizes(network, groups, head)
        try:
            with torch.device("meta"):
                skipped, width = _sizes(getattr(diffusers, model.name)(), groups, head)
        except Exception:  # a class without usable defaults: whatever its constructor raises, the tiny one stands
            return Row(model, output, features, skipped, width, False, remark)  # noqa: FBT003
    return Row(model, output, features, skipped, width, True, remark)  # noqa: FBT003


def refusal(name: str) -> str:
    """Return what `accelerate` says to a class that it does not take, built without memory."""
    with torch.device("meta"):
        network = getattr(diffusers, name)()
    try:
        accelerate(network, make_plan(spectrum(0.5), np.arange(2), [True, True]))
    except ValueError as error:
        return str(error).partition(": ")[2]
    restore(network)
    raise AssertionError(f"{name} is taken; it belongs into the table.")


def _try(network: torch.nn.Module, model: Model, at: str, full: list[torch.Tensor]) -> tuple[bool, str, frozenset[int]]:
    """Whether every law held; if not, why; and which lists of blocks were skipped."""
    held, remark, groups = True, "", frozenset()
    for evaluated in (range(len(TIMES)), EVALUATED):
        evaluate = schedules.mask(len(TIMES), evaluated)
        accelerate(network, make_plan(spectrum(0.5), np.arange(len(TIMES)), evaluate, span=(0, len(TIMES))), at=at)
        first = run(network, model, TIMES[:1])
        session: Any = network._diffusers_hook.get_hook("spectral_forecast").session
        if session.place.at == "features":
            groups = session.streams["call 0"].form.groups - session.place.split.read
        results = first + run(network, model, TIMES[1:])
        told = report(network)
        restore(network)
        exact = [torch.equal(x, y) for x, y in zip(results, full, strict=True)]
        finite = all(bool(torch.isfinite(x).all()) for x in results)
        held &= told.at == at and finite and np.flatnonzero(exact).tolist() == list(evaluated)
        remark = "; ".join(event.partition("(")[2].rpartition(")")[0] or event for event in told.events)
    return held, remark, groups


def _head(network: torch.nn.Module, model: Model) -> str:
    """Name of the layer that makes a token's output: the last linear one after the blocks; empty if there is none."""
    names: list[str] = []

    def note(name: str, *_: Any) -> None:
        names.append(name)

    def forget(*_: Any) -> None:
        names.clear()

    inside = {module for blocks in block_lists(network) for block in blocks for module in block.modules()}
    handles = [module.register_forward_hook(forget) for module in inside]
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Linear) and module not in inside:
            handles.append(module.register_forward_hook(functools.partial(note, name)))
    run(network, model, TIMES[:1])
    for handle in handles:
        handle.remove()
    return names[-1] if names else ""


def _sizes(network: torch.nn.Module, groups: frozenset[int], head: str) -> tuple[float, float]:
    """Share of the parameters in the lists of blocks ``groups``, and the head's width by its output's."""
    lists = block_lists(network)
    inside = sum(parameter.numel() for group in groups for parameter in lists[group].parameters())
    whole = sum(parameter.numel() for parameter in network.parameters())
    if not head:
        return inside / whole, np.nan
    layer: Any = network.get_submodule(head)
    return inside / whole, layer.in_features / layer.out_features


def data(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what is supported as plain data; a share or a width that is not known is None."""
    networks = [
        {
            "name": row.model.name,
            "note": row.model.note,
            "makes": row.model.kind,
            "output": row.output,
            "features": row.features,
            "skipped": round(row.skipped, 2) if row.features else None,
            "remark": row.remark,
        }
        for row in sorted(rows, key=lambda row: (row.model.kind, str(row.model)))
    ]
    untaken = {"note": "", "makes": "", "output": False, "features": False, "skipped": None}
    networks += [{"name": name, **untaken, "remark": refusal(name)} for name in UNTIMED]
    versions = {"diffusers": importlib.metadata.version("diffusers")}
    return versions | {"networks": networks, "schedulers": scheduler_limits()}


def table(rows: Sequence[Row]) -> str:
    """Return the page."""
    lines = [
        HEADER.format(
            diffusers=importlib.metadata.version("diffusers"),
            torch=importlib.metadata.version("torch").split("+")[0],
            steps=len(TIMES),
            evaluations=len(EVALUATED),
            count=len({row.model.name for row in rows if row.output}),
            split=len({row.model.name for row in rows if row.features}),
            tiny=TINY,
        ),
        "| class | makes | output | features | skipped | feature | remark |",
        "|---|---|---|---|---:|---:|---|",
    ]
    for row in sorted(rows, key=lambda row: (row.model.kind, str(row.model))):
        mark = "" if row.default else TINY
        skipped = f"{100 * row.skipped:.0f} %{mark}" if row.features else ""
        width = f"{row.width:.3g}{mark}" if row.features and np.isfinite(row.width) else ""
        words = [str(row.model), row.model.kind, _yes(row.output), _yes(row.features), skipped, width, row.remark]
        lines.append(f"| {' | '.join(words)} |")
    lines += [f"| {name} | | no | no | | | {refusal(name)} |" for name in UNTIMED]
    return "\n".join(lines) + "\n"


def _yes(value: bool) -> str:  # noqa: FBT001 - a cell of the table
    return "yes" if value else "no"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every network of the table; write the page and the README's list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/supported.md"))
    parser.add_argument("--readme", type=Path, default=Path("README.md"))
    parser.add_argument("--no-readme", action="store_true", help="leave the README's list as it is")
    parser.add_argument("--data", type=Path, default=KNOWN, help="JSON that `spectral-forecast models` prints")
    parser.add_argument("--list-only", action="store_true", help="write the README's list alone, and measure nothing")
    options = parser.parse_args(arguments)
    if not options.no_readme:
        rewrite(options.readme)
    if options.list_only:
        return
    rows = [measure(model) for model in MODELS]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(table(rows), encoding="utf-8")
    options.data.write_text(json.dumps(data(rows), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
