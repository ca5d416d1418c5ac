"""What do the results say? docs/speed.md, made from the measurements."""

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spectral_forecast.benchmarks.speed.compare import LEAST, TOLERANCES
from spectral_forecast.benchmarks.speed.statements import statements
from spectral_forecast.benchmarks.speed.words import (
    AGAIN,
    COMPARED,
    COPY,
    DEEP,
    FORECAST,
    GPU,
    GRAM,
    HEAD,
    KEEP,
    KINDS,
    RUNS,
)
from spectral_forecast.benchmarks.tables import markdown

__all__ = ["RESULTS", "page", "stem"]

RESULTS = Path(__file__).parents[1] / "results"

Rows = Sequence[dict[str, Any]]


def stem(device: str) -> str:
    """Return what the files of a device are called: "speed" on a CPU, "speed-gpu" on a GPU.

    >>> stem("cuda:0")
    'speed-gpu'
    """
    return "speed" if device == "cpu" else "speed-gpu"


def page(results: dict[str, Any]) -> str:
    """Return docs/speed.md, or docs/speed-gpu.md."""
    found, machine = results["contraction"], results["machine"]
    copies = sorted(found["copy"])
    speeds = [copies[place] / 1e9 for place in (len(copies) // 2, 0, -1)]
    name = stem(machine["device"])
    head = HEAD.format(
        title="Speed" if name == "speed" else "Speed on a GPU",
        name=name,
        machine=_wrapped(_machine(machine)),
        copy=_wrapped(COPY.format(*speeds, size=found["copied"] / 2**20, read=found["read"] / 2**20), "  "),
    )
    kept = max(row["kept"] for row in found["rows"])
    compared = ", ".join(f"{value:.0%} of {KINDS[name]}" for name, value in TOLERANCES.items())
    parts = [
        head,
        "## What holds and what does not\n\n" + markdown([["statement", "holds", "in numbers"], *statements(results)]),
        f"## A forecast\n\n{FORECAST.format(kept=kept)}\n\n{_tables(found['rows'], 'forecast', kept)}",
        f"## Keeping an evaluation\n\n{KEEP}\n\n{_tables(found['rows'], 'keep', kept)}",
        f"## Inner products\n\n{GRAM}\n\n{_tables(found['rows'], 'gram', kept)}",
        f"## Planning\n\nOn the host, in microseconds; nothing of it depends on F.\n\n{_planning(results['planning'])}",
        f"![growth](images/{name}_growth.png)",
        f"## Whole runs\n\n{RUNS}",
        DEEP if machine["device"] == "cpu" else "",
        _runs(results["runs"]["rows"]),
        f"![whole runs](images/{name}_runs.png)",
        f"## Left out\n\n{_left_out(results)}",
        GPU if machine["device"] == "cpu" else "",
        AGAIN + _wrapped(COMPARED.format(compared=compared, least=LEAST)) + "\n",
    ]
    return "\n\n".join(part for part in parts if part)


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = "; ".join(
        f"{part} {before[0]} and {after[0]} ({machine['date'][part]})"
        for part, (before, after) in machine["load"].items()
    )
    again = ", ".join(f"{network} ({date})" for network, date in machine.get("again", {}).items())
    return (
        f"Measured on {machine['device']}: {machine['name']}, cores {machine['cores']}, threads {machine['threads']}; "
        f"{versions}; in {sum(machine['seconds'].values())} s. The load before and after each part, of which this "
        f"benchmark is {machine['threads']} itself, and the day: {load}."
    ) + f" Of the runs, measured again later: {again}." * bool(again)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _tables(rows: Rows, what: str, kept: int) -> str:
    """By F with all features kept, in both dtypes, and by K where the most values of K were measured."""
    own = [row for row in rows if row["what"] == what]
    parts = []
    for dtype in dict.fromkeys(row["dtype"] for row in own):
        of_kind = [row for row in own if row["dtype"] == dtype and row["kept"] == kept]
        parts.append(f"{dtype}, K = {kept}:\n\n{_table(of_kind, 'size', 'F = {:.0e}')}")
    counts = {row["size"]: {other["kept"] for other in own if other["size"] == row["size"]} for row in own}
    middle = max(counts, key=lambda size: (len(counts[size]), size))
    by_kept = [row for row in own if row["size"] == middle and row["dtype"] == "bfloat16"]
    growing = {row["method"] for row in by_kept if row["kept"] != kept}
    if growing and len(counts[middle]) > 1:
        by_kept = [row for row in by_kept if row["method"] in growing]
        parts.append(f"bfloat16, F = {middle:.0e}:\n\n{_table(by_kept, 'kept', 'K = {}')}")
    return "\n\n".join(parts)


def _table(rows: Rows, column: str, heading: str) -> str:
    """Methods by rows; in each cell the time and the share of a copy's speed."""
    values = sorted({row[column] for row in rows})
    lines = [["", *(heading.format(value) for value in values)]]
    for method in dict.fromkeys(row["method"] for row in sorted(rows, key=lambda row: not row["ours"])):
        cells = {row[column]: row for row in rows if row["method"] == method}
        name = f"**{method}**" if any(row["ours"] for row in cells.values()) else method
        lines.append([name, *(_cell(cells.get(value)) for value in values)])
    return markdown(lines)


def _cell(row: dict[str, Any] | None) -> str:
    return "–" if row is None else f"{_time(row['seconds'])}, {row['fraction']:.0%}"


def _time(seconds: float) -> str:
    """Seconds with three digits in a unit that fits.

    >>> _time(0.0123), _time(4.5e-6), _time(12.0)
    ('12.3 ms', '4.5 µs', '12 s')
    """
    unit, scale = next(((u, s) for u, s in (("s", 1.0), ("ms", 1e-3)) if seconds >= s), ("µs", 1e-6))
    return f"{seconds / scale:.3g} {unit}"


def _planning(rows: Rows) -> str:
    """By N what depends on it, by K the rest."""
    parts = []
    for column, heading, own in (
        ("steps", "N = {}", [row for row in rows if row["steps"]]),
        ("kept", "K = {}", [row for row in rows if not row["steps"]]),
    ):
        values = sorted({row[column] for row in own})
        lines = [["", *(heading.format(value) for value in values)]]
        for what in dict.fromkeys(row["what"] for row in own):
            cells = {row[column]: f"{1e6 * row['seconds']:.0f}" for row in own if row["what"] == what}
            lines.append([f"`{what}`", *(cells.get(value, "–") for value in values)])
        parts.append(markdown(lines))
    return "\n\n".join(parts)


def _runs(rows: Rows) -> str:
    """A table for each network, eager and compiled."""
    parts = []
    for name, compiled in dict.fromkeys((row["network"], row["compiled"]) for row in rows):
        own = [row for row in rows if (row["network"], row["compiled"]) == (name, compiled)]
        first = own[0]
        heads = ["evaluations", "seconds", "speed-up", "of N/evaluations", "a skipped step", "in forecasting"]
        lines = [["", *heads, "kept", "more memory"], *(_run(row) for row in own)]
        title = f"**{name}**{', compiled' * compiled}: {first['parameters'] / 1e6:,.1f} million parameters in "
        title += f"{first['dtype']}, {first['steps']} steps in {first['full']:.3g} s"
        title += "." if compiled else f"; outside of its blocks are {first['outside']:.2%} of an evaluation."
        parts.append(f"{title}\n\n{markdown(lines)}")
    return "\n\n".join(parts)


def _run(row: dict[str, Any]) -> list[str]:
    ours = "kept" in row
    return [
        f"**{row['method']}**" if ours else row["method"],
        f"{row['evaluated']}" + (f" ({row['budget']} asked for)" if row["evaluated"] != row["budget"] else ""),
        f"{row['seconds']:.3g}",
        f"{row['speedup']:.2f}×",
        f"{row['share']:.1%}" + (f" ± {row['error']:.1%}" if row["large"] and "error" in row else ""),
        f"{row['skipped']:.2%}" if "skipped" in row else "–",
        f"{row['forecasting']:.2%}" if ours else "–",
        f"{row['kept'] / 2**20:.1f} MiB" if ours else "–",
        f"{row['extra'] / 2**20:+.0f} MiB" if row["large"] else "–",
    ]


def _left_out(results: dict[str, Any]) -> str:
    """What was not measured, and why; one line a reason."""
    cells: dict[str, dict[str, list[str]]] = {}
    for item in results["contraction"]["left_out"]:
        sizes = cells.setdefault(f"{item['method']}: {item['why']}", {})
        sizes.setdefault(f"F = {item['size']:.0e} in {item['dtype']}", []).append(str(item["kept"]))
    lines = [
        "; ".join(f"{size}, K = {', '.join(kept)}" for size, kept in sizes.items()) + f": {why}."
        for why, sizes in sorted(cells.items())
    ]
    networks: dict[str, list[str]] = {}
    for item in results["runs"]["left_out"]:
        networks.setdefault(f"{item['method']}: {item['why'].rstrip('.!')}", []).append(item["network"])
    lines += [f"{', '.join(names)}: {why}." for why, names in networks.items()]
    return _items(lines) or "Nothing."


def _items(texts: Iterable[str]) -> str:
    return "\n".join(_wrapped(f"- {text}", "  ") for text in texts)
