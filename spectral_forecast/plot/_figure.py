"""What all pictures share: how they are saved."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["saved"]


def saved(figure: "Figure", path: str | Path | None) -> "Figure":
    """Return the figure, saved in the format of the path's ending where there is one."""
    if path is not None:
        figure.savefig(path, dpi=130)
    return figure
