"""Tables and lists for people, in Markdown; the columns also line up in a terminal."""

from collections.abc import Sequence

__all__ = ["items", "markdown"]


def markdown(lines: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """Return rows of equally many words, the heading first, as a table.

    The first column stands left, the others right, as numbers do; with ``words`` all stand left.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = len(widths) if words else 1
    rule = [*("-" * width for width in widths[:left]), *("-" * (width - 1) + ":" for width in widths[left:])]
    rows = [[*map(str.ljust, row[:left], widths[:left]), *map(str.rjust, row[left:], widths[left:])] for row in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


def items(title: str, lines: Sequence[str]) -> str:
    """Return a list of places under its title; "nowhere" if there are none."""
    return "\n".join([title, "", *(lines or ["- nowhere"])])
