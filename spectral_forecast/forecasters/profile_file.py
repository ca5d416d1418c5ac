"""Files of profiles: one vector of float64 and a few notes, in safetensors (whose format is this simple) or JSON."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read", "write"]

_NAME = "gram_lower_triangle"


def write(path: Path, values: NDArray[np.float64], notes: Mapping[str, str]) -> None:
    """Write the vector and its notes: JSON where the name ends in ``.json``, else safetensors."""
    raw = values.astype("<f8").tobytes()
    if path.suffix == ".json":
        path.write_text(json.dumps({_NAME: base64.b64encode(raw).decode(), **notes}))
        return
    entry = {"dtype": "F64", "shape": [values.size], "data_offsets": [0, len(raw)]}
    head = json.dumps({"__metadata__": dict(notes), _NAME: entry}).encode()
    head += b" " * (-len(head) % 8)
    # The length of the header, the header, the numbers.
    path.write_bytes(len(head).to_bytes(8, "little") + head + raw)


def read(path: Path) -> tuple[NDArray[np.float64], dict[str, str]]:
    """Return what `write` wrote; a KeyError, TypeError or ValueError where it did not."""
    content = path.read_bytes()
    if path.suffix == ".json":
        notes = json.loads(content)
        raw = base64.b64decode(notes.pop(_NAME))
    else:
        size = int.from_bytes(content[:8], "little")
        notes = json.loads(content[8 : 8 + size])["__metadata__"]
        raw = content[8 + size :]
    return np.frombuffer(raw, dtype="<f8"), notes
