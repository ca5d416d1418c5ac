"""Files of profiles: one vector of float64 and a few notes, in safetensors (whose format is this simple) or JSON.

A file may come from anyone. Reading runs nothing of it and takes memory in proportion to what a profile needs; a digest
of all of it is kept beside, so that what was cut off or has changed is found out.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spectral_forecast import _checks

__all__ = ["MOST_BYTES", "MOST_STEPS", "Contents", "read", "write"]

MOST_STEPS = 1000
"""Of the runs that a file may tell of."""

MOST_BYTES = 6 * 2**20
"""Of a file: the triangle of 1000 steps in base 64, and the notes."""

_MOST_NOTES = 2**18
_MOST_COMMAS = 2**13  # a small JSON of many parts would take much memory
_NAME = "gram_lower_triangle"
_DIGEST = "sha256"


class Contents(NamedTuple):
    """The fields of a `Profile`."""

    gram: NDArray[np.float64]
    times: NDArray[np.float64]
    ridge: float
    settings: Mapping[str, str]


def write(path: Path, contents: Contents) -> None:
    """Write a profile, at once: JSON where the name ends in ``.json``, else safetensors."""
    notes = {"times": json.dumps(contents.times.tolist()), "ridge": repr(float(contents.ridge))}
    notes["settings"] = json.dumps(dict(contents.settings))
    raw = contents.gram[np.tril_indices(len(contents.gram))].astype("<f8").tobytes()
    notes[_DIGEST] = _digest(raw, notes)
    if path.suffix == ".json":
        content = json.dumps({_NAME: base64.b64encode(raw).decode(), **notes}).encode()
    else:
        entry = {"dtype": "F64", "shape": [len(raw) // 8], "data_offsets": [0, len(raw)]}
        head = json.dumps({"__metadata__": notes, _NAME: entry}).encode()
        head += b" " * (-len(head) % 8)
        # The length of the header, the header, the numbers.
        content = len(head).to_bytes(8, "little") + head + raw
    _parse(content, path.suffix)  # nothing is written that could not be read
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    part.replace(path)


def read(path: Path) -> Contents:
    """Return what `write` wrote; a ValueError that says why where it did not."""
    if not path.is_file():
        raise ValueError("there is no such file")
    with path.open("rb") as file:
        return _parse(file.read(MOST_BYTES + 1), path.suffix)


def _parse(content: bytes, suffix: str) -> Contents:
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has more than the {MOST_BYTES} bytes of a profile of {MOST_STEPS} steps")
    notes, raw = _json_parts(content) if suffix == ".json" else _safetensors_parts(content)
    if len(raw) % 8 or not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        raise ValueError("it is cut off, or its notes are no texts")
    digest = notes.pop(_DIGEST, None)
    if _digest(raw, notes) != digest:
        raise ValueError("it does not match its digest: it has changed, or is none")
    if notes.keys() != {"times", "ridge", "settings"}:
        raise ValueError(f"its notes are {', '.join(notes)}")
    return _contents(np.frombuffer(raw, dtype="<f8"), notes)


def _json_parts(content: bytes) -> tuple[Any, bytes]:
    notes = _json(content)
    values = notes.pop(_NAME, None) if isinstance(notes, dict) else None
    if not isinstance(values, str):
        raise ValueError(f"it is no object with a text `{_NAME}`")
    return notes, base64.b64decode(values, validate=True)


def _safetensors_parts(content: bytes) -> tuple[Any, bytes]:
    size = int.from_bytes(content[:8], "little")
    if not 8 + size <= len(content) or size > _MOST_NOTES:
        raise ValueError(f"its header should have {size} bytes")
    head, raw = _json(content[8 : 8 + size]), content[8 + size :]
    entry = {"dtype": "F64", "shape": [len(raw) // 8], "data_offsets": [0, len(raw)]}
    if not isinstance(head, dict) or head.keys() != {"__metadata__", _NAME} or head[_NAME] != entry:
        raise ValueError(f"its header is not that of one vector `{_NAME}`")
    return head["__metadata__"], raw


def _contents(values: NDArray[np.float64], notes: Mapping[str, str]) -> Contents:
    """Return the profile that a file's parts stand for, if they stand for one."""
    times, settings = _json(notes["times"].encode()), _json(notes["settings"].encode())
    if not isinstance(times, list) or not all(isinstance(time, float) for time in times):
        raise ValueError("its `times` are no list of numbers")
    count = _checks.increasing("times", times).size
    if count > MOST_STEPS or values.size != count * (count + 1) // 2:
        raise ValueError(f"it has {values.size} products of {count} steps, of {MOST_STEPS} at most")
    texts = [*settings, *settings.values()] if isinstance(settings, dict) else [None]
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        raise ValueError("its `settings` are no printable texts by name")
    gram = np.zeros((count, count))
    gram[np.tril_indices(count)] = values
    gram += np.tril(gram, -1).T
    # Of real features it has no negative eigenvalue but rounding's.
    size = float(np.max(np.abs(gram)))
    if not size < 1e100 or np.linalg.eigvalsh(gram)[0] < -1e-5 * size:
        raise ValueError("its numbers are the inner products of no features")
    return Contents(gram, np.array(times), _checks.nonnegative("ridge", notes["ridge"]), settings)


def _json(content: bytes) -> Any:
    """Return what JSON of few parts holds, each name once."""
    if content.count(b",") > _MOST_COMMAS:
        raise ValueError("its notes have too many parts")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a name stands twice in it")
        return dict(pairs)

    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=once)
    except RecursionError as error:
        raise ValueError("its notes are nested too deeply") from error


def _digest(raw: bytes, notes: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(notes), sort_keys=True).encode() + b"\n" + raw).hexdigest()
