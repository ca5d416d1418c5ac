"""Where is a profile that has a name? In a folder of the user's, which the platform or a variable names."""

import os
import re
import sys
from pathlib import Path

__all__ = ["VARIABLE", "folder", "names", "place"]

VARIABLE = "SPECTRAL_FORECAST_PROFILES"
"""The environment's name of the folder where profiles with a name lie."""

_ENDINGS = (".safetensors", ".json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def folder() -> Path:
    """Return the folder of named profiles, which need not exist.

    The variable ``SPECTRAL_FORECAST_PROFILES`` names it. Without that it is ``spectral_forecast/profiles`` in
    ``%LOCALAPPDATA%`` on Windows, ``~/Library/Application Support`` on macOS, and elsewhere in ``$XDG_DATA_HOME`` or
    ``~/.local/share``.
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    variable, usual = {
        "win32": ("LOCALAPPDATA", "~/AppData/Local"),
        "darwin": ("", "~/Library/Application Support"),
    }.get(sys.platform, ("XDG_DATA_HOME", "~/.local/share"))
    data = Path(os.environ.get(variable, ""))
    # The XDG specification: a path that is not absolute is to be ignored.
    return (data if data.is_absolute() else Path(usual).expanduser()) / "spectral_forecast" / "profiles"


def place(name: str | Path) -> Path:
    """Return the file of a named profile, or the path itself.

    A text without a slash and without the ending ``.safetensors`` or ``.json`` is a name: up to 100 letters, digits,
    dots, dashes and underscores, a letter or a digit first, so that it never leads out of the folder.
    """
    if isinstance(name, Path) or name.endswith(_ENDINGS) or any(mark in name for mark in ("/", os.sep)):
        return Path(name)
    if not _NAME.fullmatch(name):
        raise ValueError(
            f'`path` is {name!r}; write a name of letters, digits, ".", "-" and "_", or a path that ends in '
            f"{' or '.join(_ENDINGS)}."
        )
    return folder() / f"{name}.safetensors"


def names() -> list[str]:
    """Return the names of the profiles in the folder."""
    return sorted(path.stem for path in folder().glob("*.safetensors") if _NAME.fullmatch(path.stem))
