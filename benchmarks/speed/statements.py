"""Which of the aims are reached? Each statement with whether it holds, and in numbers."""

from collections.abc import Sequence
from typing import Any

from spectral_forecast.benchmarks.speed.methods import OURS
from spectral_forecast.benchmarks.speed.peers import RELEASED

__all__ = ["statements"]

LARGE = 10**7
COPY, TIMES, SHARE, PART = {"cpu": 0.7, "cuda": 0.85}, 5.0, 0.98, 0.005


def statements(results: dict[str, Any]) -> list[list[str]]:
    """Return the lines of the table: what is said, "yes" or "no", and in numbers."""
    device = results["machine"]["device"]
    rows = [
        row
        for row in results["contraction"]["rows"]
        if row["method"] == OURS and row["what"] == "forecast" and row["size"] >= LARGE
    ]
    half = [row for row in rows if row["dtype"] == "bfloat16"]
    most = max((row["kept"] for row in half), default=0)
    runs = [row for row in results["runs"]["rows"] if row["ours"] and row["large"] and not row["compiled"]]
    lines = [
        _line(
            f"the bfloat16 contraction reaches {COPY[device]:.0%} of a copy's speed for F ≥ {LARGE:.0e}",
            [row["fraction"] for row in half],
            COPY[device],
            "{:.0%}",
        ),
        _line(
            f"it is {TIMES:g} times faster than “{RELEASED}” at K = {most}, F ≥ {LARGE:.0e}",
            [row["over"] for row in half if row["kept"] == most and "over" in row],
            TIMES,
            "{:.1f}×",
        ),
        *_speedups(runs),
    ]
    if device == "cuda":
        part = [1.0 - row["forecasting"] for row in runs if row["network"].startswith(("FLUX", "Wan"))]
        lines.append(_line(f"forecasting is less than {PART:.1%} of a run on FLUX and Wan", part, 1.0 - PART, "{:.2%}"))
    return lines


def _speedups(runs: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A line for each large network and what is forecast of it, the largest network first."""
    sizes = {row["network"]: row["parameters"] for row in runs} or {"large networks": 0}
    return [
        _line(
            f"the speed-up is {SHARE:.0%} of N/evaluations with {name}, at {at}",
            [row["share"] for row in runs if (row["network"], row["method"]) == (name, f"ours, {at}")],
            SHARE,
            "{:.1%}",
        )
        for name in sorted(sizes, key=sizes.__getitem__, reverse=True)
        for at in ("outputs", "features")
    ]


def _line(statement: str, values: Sequence[float], least: float, form: str) -> list[str]:
    """One line; it holds if every value does."""
    if not values:
        return [statement, "–", "not measured"]
    reached = sum(value >= least for value in values)
    numbers = f"in {reached} of {len(values)}; least {form.format(min(values))}, most {form.format(max(values))}"
    return [statement, "yes" if reached == len(values) else "**no**", numbers]
