"""A table for people: Markdown whose columns also line up in a terminal."""

from collections.abc import Sequence

__all__ = ["markdown"]


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Return rows of equally many words, the heading first, as a table: the first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    rows = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])
