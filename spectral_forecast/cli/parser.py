"""How does a parser of this command line talk? Help on one screen, and errors that say what to type."""

import argparse
import difflib
import re
import shutil
from collections.abc import Iterable
from typing import Any, NoReturn

__all__ = ["Parser"]

_WIDEST = 100


class Formatter(argparse.HelpFormatter):
    """Help without blank lines between groups, at most 100 columns wide."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        super().__init__(prog, max_help_position=24, width=width - 2)

    def format_help(self) -> str:
        """Return the help; only the usage and the description stand apart."""
        usage, *rest = super().format_help().split("\n\n")
        if not rest:
            return usage
        description, *groups = rest
        return "\n\n".join([usage, description, "\n".join(group.strip("\n") for group in groups) + "\n"])


class Parser(argparse.ArgumentParser):
    """A parser whose errors end in what to type instead."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", Formatter)
        options.setdefault("allow_abbrev", False)  # `--eval 14` and `--evaluate 14` are not the same
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Leave with status 2 after the message, the nearest right word, and where the help is."""
        wrong = re.search(r"(?:invalid choice: '|unrecognized arguments: )([^\s']+)", message)
        near = difflib.get_close_matches(wrong[1], self._words(), n=1) if wrong else []
        meant = f"did you mean `{near[0]}`? " if near else ""
        self.exit(2, f"{self.prog}: {message}\n{meant}`{self.prog} --help` says what there is.\n")

    def _words(self) -> Iterable[str]:
        for action in self._actions:
            yield from action.option_strings
            yield from map(str, action.choices or ())
