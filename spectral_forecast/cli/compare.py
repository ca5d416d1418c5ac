"""Compare the pictures of one or more folders with those of the full run: quality, evaluations, speed-up."""

import argparse
import math
from pathlib import Path

from spectral_forecast.cli.output import Output, add_json
from spectral_forecast.compare import Comparison, Spread, compare

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "compare pictures that `sample` wrote with those of the full run"
EXTRA = "diffusers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("reference", metavar="REF", type=Path, help="folder of the full run")
    parser.add_argument("results", metavar="OUT", type=Path, nargs="+", help="folders to compare with it, a row each")
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the table, and what is missing."""
    comparisons, output = [compare(options.reference, result) for result in options.results], Output(options)
    output.say(_table(comparisons))
    for comparison in comparisons:
        output.say(f"\n{comparison.result}: {_count(comparison)}")
        for folder, names in (
            (comparison.reference, comparison.only_reference),
            (comparison.result, comparison.only_result),
        ):
            if names:
                output.say(f"  only in {folder}: {', '.join(names)}")
        for remark in comparison.remarks:
            output.say(f"  {remark}")
    output.emit([comparison.as_dict() for comparison in comparisons])
    return 0


def _table(comparisons: list[Comparison]) -> str:
    """The reference's row, then one for each folder: mean ± standard deviation over the prompts."""
    from spectral_forecast.benchmarks.tables import markdown

    first = comparisons[0]
    cost = [
        _words(first.spread(name), digits) for name, digits in (("reference_evaluations", 1), ("reference_seconds", 3))
    ]
    lines = [["run", "evaluations", "seconds", "speed-up", "PSNR / dB", "SSIM", "LPIPS"]]
    lines.append([str(first.reference), *cost, "–", "–", "–", "–"])
    columns = {"evaluations": 1, "seconds": 3, "speedup": 2, "psnr": 2, "ssim": 4, "lpips": 4}
    lines += [
        [str(item.result), *(_words(item.spread(name), digits) for name, digits in columns.items())]
        for item in comparisons
    ]
    return str(markdown(lines))


def _words(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "–"
    if math.isinf(spread.mean):
        return "inf"
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.{digits}f}"
    return f"{spread.mean:.{digits}f}{deviation}"


def _count(comparison: Comparison) -> str:
    count, same = len(comparison.pairs), sum(math.isinf(pair.psnr) for pair in comparison.pairs)
    return f"{count} compared with {comparison.reference}" + (f", {same} without any difference" if same else "")
