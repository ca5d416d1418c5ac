"""What does a command print: words for people, or JSON for programs?"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Output", "add_json", "complain"]

_PRINTED = "-"


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare ``--json``, which every command has."""
    parser.add_argument(
        "--json", nargs="?", const=_PRINTED, metavar="FILE", help="write JSON to this file, or print it alone"
    )


def complain(command: str, failed: Mapping[str, str]) -> None:
    """Say what has failed, and why."""
    for name, error in failed.items():
        print(f"spectral-forecast {command}: {name} failed: {error}", file=sys.stderr)


class Output:
    """Where a command's words and its JSON go: with ``--json`` alone, nothing but JSON is printed.

    Parameters
    ----------
    options : Namespace
        What was parsed, with ``json``.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._file: str | None = options.json

    def say(self, *words: Any) -> None:
        """Print for people."""
        if self._file != _PRINTED:
            print(*words, flush=True)

    def emit(self, data: Any) -> None:
        """Write or print the JSON, if it was asked for; a text is JSON already."""
        if self._file is None:
            return
        text = data if isinstance(data, str) else json.dumps(data, indent=1, ensure_ascii=False)
        if self._file == _PRINTED:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        else:
            Path(self._file).write_text(text + "\n", encoding="utf-8")
            print(f"wrote {self._file}")
