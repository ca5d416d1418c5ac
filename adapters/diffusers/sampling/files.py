"""How do results reach a folder so that a kill leaves none of them half written?

Everything is written under a name that ends in ``.part`` and renamed when it is whole; a later run writes over what a
kill has left.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["read_json", "write_json", "write_picture", "write_video"]


def write_json(path: Path, content: dict[str, Any], part: str = ".part") -> None:
    """Write a file of JSON, at once."""
    _at_once(path, lambda file: file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"), part)


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file of JSON; nothing where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}


def write_picture(path: Path, picture: Any) -> list[str]:
    """Write a PNG beside ``path``; return its name."""
    file = path.with_name(f"{path.name}.png")
    _at_once(file, lambda part: _image(picture).save(part, format="PNG"))
    return [file.name]


def write_video(path: Path, frames: Any, fps: int | None) -> list[str]:
    """Write frames as a folder of PNGs, and as a film too if ``fps`` is given; return their names."""
    images = [_image(frame) for frame in frames]
    part = path.with_name(f"{path.name}.part")
    for folder in (part, path):
        shutil.rmtree(folder, ignore_errors=True)
    part.mkdir()
    for number, image in enumerate(images):
        image.save(part / f"{number:05d}.png")
    part.replace(path)
    if fps is None:
        return [path.name]
    from diffusers.utils import export_to_video

    film = path.with_name(f"{path.name}.part.mp4")
    export_to_video(images, str(film), fps=fps)
    return [path.name, film.replace(path.with_name(f"{path.name}.mp4")).name]


def _at_once(path: Path, write: Callable[[Path], Any], ending: str = ".part") -> None:
    part = path.with_name(path.name + ending)
    write(part)
    part.replace(path)


def _image(picture: Any) -> Image.Image:
    """A picture of Pillow's, or an array (height, width, channels) in [0, 1]."""
    if isinstance(picture, Image.Image):
        return picture
    array = np.asarray(picture)
    if array.ndim != 3 or not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"the pipeline returned {type(picture).__name__} {array.shape} of {array.dtype}, no picture")
    array = (255.0 * array.clip(0.0, 1.0)).round().astype(np.uint8)
    return Image.fromarray(array.squeeze(-1) if array.shape[-1] == 1 else array)
