"""How does a script in the percent format become a page? Its comments are Markdown, its code is code."""

import re
from typing import Any

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

__all__ = ["PercentParser", "as_markdown", "setup"]


def as_markdown(script: str) -> str:
    """Return a script's cells as Markdown: those marked ``# %% [markdown]`` as text, the others as Python."""
    lines = []
    for cell in re.split(r"^# %%", script, flags=re.MULTILINE)[1:]:
        head, _, body = cell.partition("\n")
        body = body.strip("\n")
        if head.strip() == "[markdown]":
            lines.append(re.sub(r"^# ?", "", body, flags=re.MULTILINE))
        elif body:
            lines.append(f"```python\n{body}\n```")
    return "\n\n".join(lines) + "\n"


class PercentParser(MystParser):
    """Parses scripts."""

    supported = ("percent",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Read the script as Markdown."""
        super().parse(as_markdown(inputstring), document)


def setup(app: Sphinx) -> dict[str, Any]:
    """Make scripts pages."""
    app.add_source_suffix(".py", "percent")
    app.add_source_parser(PercentParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
