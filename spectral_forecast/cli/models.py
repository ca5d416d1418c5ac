"""List the networks and schedulers of diffusers that are known to work, and why others do not.

Others work, too, if they are called with a time: `accelerate` looks at what is there, and its report says what it saw.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from spectral_forecast.benchmarks import known
from spectral_forecast.benchmarks.tables import markdown
from spectral_forecast.cli.output import Output, add_json

__all__ = ["EXTRA", "HELP", "add_arguments", "run"]

HELP = "list the networks and schedulers that are known to work, and why others do not"
EXTRA = "diffusers"
_IN_A_ROW = {None: "any number", 0: "none"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "words", metavar="WORD", nargs="*", help='show what has this in its name, as in "wan" or "unipc"'
    )
    add_json(parser)


def run(options: argparse.Namespace) -> int:
    """Print the tables of what matches."""
    found, output = known.read(), Output(options)
    networks, schedulers = (_matching(found[kind], options.words) for kind in ("networks", "schedulers"))
    if not networks and not schedulers:
        raise ValueError(
            f"`WORD`: no network or scheduler of diffusers {found['diffusers']} has {' or '.join(options.words)} in its"
            " name; write part of a class's name, as in `spectral-forecast models flux`, or nothing for all."
        )
    output.say(f"Measured with diffusers {found['diffusers']}.")
    if networks:
        output.say(f"\n{_networks(networks)}")
    if schedulers:
        output.say(f"\n{_schedulers(schedulers)}")
    output.emit({"diffusers": found["diffusers"], "networks": networks, "schedulers": schedulers})
    return 0


def _matching(records: Sequence[dict[str, Any]], words: Sequence[str]) -> list[dict[str, Any]]:
    """Those whose name or class holds one of the words; all where there are none."""
    names = [f"{record['name']} {record.get('class', '')}".lower() for record in records]
    return [r for r, name in zip(records, names, strict=True) if not words or any(w.lower() in name for w in words)]


def _networks(records: Sequence[dict[str, Any]]) -> str:
    lines = [["network", "makes", "forecast", "blocks hold", "remark"]]
    for record in records:
        where = "output, features" if record["features"] else "output" if record["output"] else "no"
        share = "" if record["skipped"] is None else f"{record['skipped']:.0%}"
        name = record["name"] + (f" ({record['note']})" if record["note"] else "")
        lines.append([name, record["makes"], where, share, record["remark"]])
    return str(markdown(lines, words=True))


def _schedulers(records: Sequence[dict[str, Any]]) -> str:
    lines = [["scheduler", "class", "forecasts in a row", "why"]]
    for record in records:
        count = _IN_A_ROW.get(record["max_skip"], str(record["max_skip"]))
        lines.append([record["name"], record["class"], count, record["why"]])
    return str(markdown(lines, words=True))
