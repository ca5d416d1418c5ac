"""What has become slower? Two results compared by ratios, which mean the same on machines of different speed."""

import statistics
from collections.abc import Sequence
from typing import Any, TypeAlias

__all__ = ["LEAST", "TOLERANCES", "compare", "told"]

TOLERANCES = {"fraction": 0.2, "over": 0.25, "share": 0.05}
"""How much of a ratio may be lost: of a copy's speed, to the released arithmetic, of N/evaluations."""
LEAST = 10**6
"""Elements of a feature from which times are those of memory, and not of calls."""

Results: TypeAlias = dict[str, Any]
Ratios: TypeAlias = dict[str, tuple[str, float]]


def compare(old: Sequence[Results], new: Sequence[Results]) -> tuple[list[str], int]:
    """Return a sentence for each ratio that got worse by more than its tolerance, and how many were compared.

    Our own contractions of `LEAST` elements and more are compared, and our runs of large networks; times of short calls
    and of small networks vary by more than any tolerance that would mean something. Of results that were measured
    several times the medians are compared.

    Raises
    ------
    ValueError
        If the two have nothing in common, or were measured on different kinds of device.

    Examples
    --------
    >>> def results(share):
    ...     run = {"network": "A", "large": True, "compiled": False, "method": "ours", "ours": True, "budget": 14}
    ...     none = {"machine": {"device": "cpu"}, "contraction": {"rows": []}}
    ...     return none | {"runs": {"rows": [run | {"share": share}]}}
    >>> compare([results(0.98)], [results(0.97)])
    ([], 1)
    >>> compare([results(0.98)], [results(0.9)])
    (['A, ours, 14 evaluations: share 0.98 has become 0.9'], 1)
    >>> compare([results(0.98)], [results(0.9), results(0.97), results(0.98)])
    ([], 1)
    """
    kinds = {results["machine"]["device"] for results in old}, {results["machine"]["device"] for results in new}
    if len(kinds[0] | kinds[1]) > 1:
        before, after = (" and ".join(sorted(kind)) for kind in kinds)
        raise ValueError(f"`OLD` was measured on {before}, the new results on {after}; compare like with like.")
    before, after = _medians(old), _medians(new)
    common = [name for name in before if name in after]
    if not common:
        raise ValueError("`OLD` has nothing in common with the new results; write a file of the same benchmark.")
    worse = [
        f"{name} {before[name][1]:g} has become {after[name][1]:g}"
        for name in common
        if after[name][1] < (1.0 - TOLERANCES[before[name][0]]) * before[name][1]
    ]
    return worse, len(common)


def told(worse: list[str], common: int, old: Sequence[Results], new: Sequence[Results]) -> str:
    """Return what is printed of a comparison."""
    lines = [f"{common} ratios compared, {len(worse)} worse by more than " + _tolerances() + "."]
    lines += worse
    missing = sorted(set(_medians(old)) - set(_medians(new)))
    if missing:
        lines += ["Measured before and not now:", *missing]
    return "\n".join(lines)


def _medians(measured: Sequence[Results]) -> Ratios:
    """The ratios that all results have."""
    each = [_ratios(results) for results in measured]
    names = [name for name in each[0] if all(name in ratios for ratios in each)]
    return {name: (each[0][name][0], statistics.median(ratios[name][1] for ratios in each)) for name in names}


def _tolerances() -> str:
    return ", ".join(f"{value:.0%} ({name})" for name, value in TOLERANCES.items())


def _ratios(results: Results) -> Ratios:
    """The ratios of our own rows by their names, each with its kind."""
    found: Ratios = {}
    for row in results["contraction"]["rows"]:
        if row["ours"] and row["size"] >= LEAST:
            cell = f"{row['what']}, {row['method']}, F = {row['size']:.0e}, K = {row['kept']}, {row['dtype']}"
            found |= {f"{cell}: {kind}": (kind, row[kind]) for kind in ("fraction", "over") if kind in row}
    for row in results["runs"]["rows"]:
        if row["ours"] and row["large"]:
            compiled = ", compiled" * row["compiled"]
            name = f"{row['network']}{compiled}, {row['method']}, {row['budget']} evaluations"
            found[f"{name}: share"] = ("share", row["share"])
    return found
