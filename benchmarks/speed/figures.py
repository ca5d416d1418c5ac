"""How do times grow, and what is left of the speed-up that the evaluations promise? Two pictures from the results."""

from pathlib import Path
from typing import Any

from spectral_forecast.benchmarks.speed.methods import OURS
from spectral_forecast.benchmarks.speed.peers import AGAIN, RELEASED

__all__ = ["pictures"]

LINES = (
    OURS,
    "combine, on any array library",
    "GuardedRun.forecast, the default",
    RELEASED,
    AGAIN,
    "TaylorSeer of diffusers, order 1",
    "BLAS: weights @ ring",
)


def pictures(results: dict[str, Any], folder: Path, name: str) -> None:
    """Draw what a forecast takes by F and by K, what planning takes by N, and the shares of whole runs."""
    folder.mkdir(parents=True, exist_ok=True)
    _growth(results).savefig(folder / f"{name}_growth.png", dpi=90)
    _shares(results["runs"]["rows"]).savefig(folder / f"{name}_runs.png", dpi=90)


def _growth(results: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    found = results["contraction"]
    rows = [row for row in found["rows"] if row["what"] == "forecast" and row["dtype"] == "bfloat16"]
    most = max(row["kept"] for row in rows)
    counts = {size: len({row["kept"] for row in rows if row["size"] == size}) for size in {row["size"] for row in rows}}
    middle = max(counts, key=lambda size: (counts[size], size))
    figure = Figure(figsize=(13, 4.8), layout="constrained")
    by_size, by_kept, by_steps = figure.subplots(1, 3)
    for name in LINES:
        own = [row for row in rows if row["method"] == name]
        _line(by_size, [(row["size"], row["seconds"]) for row in own if row["kept"] == most], name)
        _line(by_kept, [(row["kept"], row["seconds"]) for row in own if row["size"] == middle], name)
    speed = sorted(found["copy"])[len(found["copy"]) // 2]
    reads = sorted({(row["size"], row["kept"], row["bytes"]) for row in rows if row["method"] == OURS})
    bound = {"color": "black", "lw": 0.8, "ls": ":", "marker": ""}
    words = "as many bytes at a copy's speed"
    _line(by_size, [(size, count / speed) for size, kept, count in reads if kept == most], words, **bound)
    _line(by_kept, [(kept, count / speed) for size, kept, count in reads if size == middle], words, **bound)
    for name in dict.fromkeys(row["what"] for row in results["planning"] if row["steps"]):
        own = [row for row in results["planning"] if row["what"] == name]
        _line(by_steps, [(row["steps"], row["seconds"]) for row in own], name)
    for axis, title, logarithmic in (
        (by_size, f"elements of a feature F, K = {most}", True),
        (by_kept, f"kept features K, F = {middle:.0e}", False),
        (by_steps, "steps N, evaluations 0.28 N", True),
    ):
        axis.set_xlabel(title)
        axis.set_yscale("log")
        if logarithmic:
            axis.set_xscale("log")
        axis.grid(visible=True, alpha=0.3)
    steps = sorted({row["steps"] for row in results["planning"] if row["steps"]})
    by_steps.set_xticks(steps, labels=map(str, steps))
    by_steps.minorticks_off()
    by_size.set_ylabel("seconds of a forecast")
    by_steps.set_ylabel("seconds on the host")
    figure.legend(*by_size.get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=8, frameon=False)
    by_steps.legend(fontsize=7, frameon=False)
    return figure


def _line(axis: Any, points: list[tuple[float, float]], name: str, **style: Any) -> None:
    if points:
        xs, ys = zip(*sorted(points), strict=True)
        axis.plot(xs, ys, **({"marker": "o", "ms": 3, "lw": 1.2, "label": name} | style))


def _shares(rows: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    rows = [row for row in rows if not row["compiled"]]
    names = list(dict.fromkeys(row["network"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    budget = max(row["budget"] for row in rows)
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    axis = figure.subplots()
    for place, method in enumerate(methods):
        own = {row["network"]: row["share"] for row in rows if (row["method"], row["budget"]) == (method, budget)}
        at = [names.index(name) + 0.16 * (place - 0.5 * (len(methods) - 1)) for name in own]
        axis.bar(at, list(own.values()), width=0.15, label=method)
    axis.axhline(1.0, lw=0.8, ls=":", color="black")
    axis.set_xticks(range(len(names)), labels=names)
    axis.set_ylabel(f"share of N / evaluations,\n{budget} asked for")
    axis.grid(visible=True, axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(methods), frameon=False, fontsize=8)
    return figure
