"""How far are a folder's pictures from another's, file by file, and what did each cost?

The folders are those that ``spectral-forecast sample`` writes, or any others whose pictures have equal names: a PNG is
a picture, a folder of PNGs a video. Pillow reads them; SSIM comes from scikit-image and LPIPS from the package of its
authors, where they are installed.
"""

import importlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectral_forecast.metrics import psnr

__all__ = ["Comparison", "Pair", "Spread", "compare"]

Picture = NDArray[np.float64]  # (frames, height, width, 3) in [0, 1]


@dataclass(frozen=True)
class Pair:
    """One prompt's two results.

    Attributes
    ----------
    name : str
        What both files are called, without the ending.
    psnr : float
        Peak signal-to-noise ratio in dB, over all frames; infinity where nothing differs.
    ssim, lpips : float or None
        Mean over the frames; None where it could not be measured.
    evaluations, reference_evaluations : int or None
        Network evaluations of either run; None without its statistics.
    seconds, reference_seconds : float or None
        Time of either pipeline call; None without its statistics.
    """

    name: str
    psnr: float
    ssim: float | None = None
    lpips: float | None = None
    evaluations: int | None = None
    reference_evaluations: int | None = None
    seconds: float | None = None
    reference_seconds: float | None = None

    @property
    def speedup(self) -> float | None:
        """Time of the reference over time of the result."""
        return self.reference_seconds / self.seconds if self.reference_seconds and self.seconds else None


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over the prompts (n - 1 in the denominator; None for one prompt alone)."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: list[float | None]) -> "Spread | None":
        """Return the spread of the values; None where one of them is missing."""
        known = [value for value in values if value is not None]
        if len(known) < len(values) or not known:
            return None
        finite = len(known) > 1 and all(map(math.isfinite, known))
        return cls(float(np.mean(known)), float(np.std(known, ddof=1)) if finite else None)


@dataclass(frozen=True)
class Comparison:
    """A folder's results against a reference's. Made by `compare`.

    Attributes
    ----------
    reference, result : Path
        The two folders.
    pairs : list of Pair
        One for each name that is in both.
    only_reference, only_result : list of str
        Names without a counterpart.
    remarks : list of str
        Why something could not be measured.
    """

    reference: Path
    result: Path
    pairs: list[Pair]
    only_reference: list[str] = field(default_factory=list)
    only_result: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def spread(self, name: str) -> Spread | None:
        """Return mean and deviation over the prompts of an attribute of `Pair`."""
        return Spread.of([getattr(pair, name) for pair in self.pairs])

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain data, ready for JSON; an infinite PSNR is None, and ``identical`` then counts."""
        names = ["evaluations", "reference_evaluations", "seconds", "reference_seconds", "speedup"]
        names += ["psnr", "ssim", "lpips"]
        spreads = {name: self.spread(name) for name in names}
        return {
            "reference": str(self.reference),
            "result": str(self.result),
            "identical": sum(math.isinf(pair.psnr) for pair in self.pairs),
            "mean": {name: spread and _finite(spread.mean) for name, spread in spreads.items()},
            "deviation": {name: spread and spread.deviation for name, spread in spreads.items()},
            "prompts": [asdict(pair) | {"psnr": _finite(pair.psnr), "speedup": pair.speedup} for pair in self.pairs],
            "only_reference": self.only_reference,
            "only_result": self.only_result,
            "remarks": self.remarks,
        }


def compare(reference: str | Path, result: str | Path) -> Comparison:
    """Compare the pictures and videos of two folders, matched by name.

    Parameters
    ----------
    reference : path
        Folder of the full run: ``00000.png`` or a folder ``00000`` of frames for each prompt, and ``00000.json`` with
        its statistics where `spectral-forecast sample` wrote it.
    result : path
        Folder of the run that is judged.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If a folder is missing, no name is in both, or two files of one name differ in size or in number of frames.
    """
    first, second = _results(Path(reference)), _results(Path(result))
    common = sorted(first.keys() & second.keys())
    if not common:
        raise ValueError(f"nothing in {result} has a counterpart in {reference}; their files' names are all different.")
    remarks: list[str] = []
    measures = _measures(remarks)
    pairs = []
    for name in common:
        a, b = _read(second[name]), _read(first[name])
        if a.shape != b.shape:
            raise ValueError(f"{second[name]} has {_size(a)}, {first[name]} {_size(b)}; only equal sizes compare.")
        for kind in [kind for kind in measures if min(a.shape[1:3]) < _SMALLEST[kind]]:
            remarks.append(f"no {kind.upper()}: it needs {_SMALLEST[kind]} pixels a side, {name} has {_size(a)}")
            del measures[kind]
        mine, theirs = _statistics(Path(result), name), _statistics(Path(reference), name)
        pairs.append(
            Pair(
                name,
                psnr(a, b, data_range=1.0),
                **{kind: measure(a, b) for kind, measure in measures.items()},
                evaluations=mine.get("evaluations"),
                reference_evaluations=theirs.get("evaluations"),
                seconds=mine.get("seconds"),
                reference_seconds=theirs.get("seconds"),
            )
        )
    remarks += [
        f"{folder}: not every picture has its statistics beside it, so evaluations, seconds and speed-up are unknown"
        for folder, unknown in ((reference, [p.reference_seconds for p in pairs]), (result, [p.seconds for p in pairs]))
        if None in unknown
    ]
    return Comparison(
        Path(reference),
        Path(result),
        pairs,
        sorted(first.keys() - second.keys()),
        sorted(second.keys() - first.keys()),
        remarks,
    )


Measure = Callable[[Picture, Picture], float]
_SMALLEST = {"ssim": 11, "lpips": 31}  # the window's width, and what AlexNet's strides leave a pixel of


class _MissingError(Exception):
    """Why something cannot be measured here."""


def _measures(remarks: list[str]) -> dict[str, Measure]:
    """What can be measured besides PSNR; why not, where it cannot."""
    measures = {}
    for kind, make in (("ssim", _ssim), ("lpips", _lpips)):
        try:
            measures[kind] = make()
        except _MissingError as error:
            remarks.append(f"no {kind.upper()}: {error}")
    return measures


def _ssim() -> Measure:
    """SSIM as its authors define it: Gaussian window of deviation 1.5, 11 pixels wide, mean over the channels."""
    try:
        structural_similarity = importlib.import_module("skimage.metrics").structural_similarity
    except ModuleNotFoundError as error:
        raise _MissingError("scikit-image is not installed") from error

    def ssim(a: Picture, b: Picture) -> float:
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        values = [
            structural_similarity(x, y, data_range=1.0, channel_axis=-1, **options) for x, y in zip(a, b, strict=True)
        ]
        return float(np.mean(values))

    return ssim


def _lpips() -> Measure:
    """LPIPS with AlexNet, as papers report it; only where nothing has to be downloaded."""
    try:
        torch, package = importlib.import_module("torch"), importlib.import_module("lpips")
    except ModuleNotFoundError as error:
        raise _MissingError(f"{error.name} is not installed") from error
    weights = Path(torch.hub.get_dir()) / "checkpoints"
    if not any(weights.glob("alexnet-*.pth")):
        raise _MissingError(f"torchvision's weights of AlexNet are not in {weights}")
    network = package.LPIPS(net="alex", verbose=False).eval()

    def lpips(a: Picture, b: Picture) -> float:
        x, y = (torch.from_numpy(item).permute(0, 3, 1, 2).float() for item in (a, b))
        with torch.no_grad():
            pairs = zip(x.split(1), y.split(1), strict=True)
            return float(np.mean([float(network(u, v, normalize=True)) for u, v in pairs]))

    return lpips


def _results(folder: Path) -> dict[str, Path]:
    """The pictures and videos of a folder, by name."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; write one that `spectral-forecast sample` has filled.")
    found = {path.stem: path for path in folder.glob("*.png")}
    found |= {path.name: path for path in folder.iterdir() if path.suffix != ".part" and any(path.glob("*.png"))}
    if not found:
        raise ValueError(f"{folder} holds no PNG and no folder of PNGs.")
    return found


def _read(path: Path) -> Picture:
    """A picture, or the frames of a video in the order of their names."""
    image = importlib.import_module("PIL.Image")
    frames = []
    for file in sorted(path.glob("*.png")) if path.is_dir() else [path]:
        with image.open(file) as picture:
            frames.append(np.asarray(picture.convert("RGB"), dtype=np.float64) / 255.0)
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError(f"{path}: its frames have different sizes.")
    return np.stack(frames)


def _size(picture: Picture) -> str:
    frames, height, width, _ = picture.shape
    return f"{width} × {height} pixels" + (f" and {frames} frames" if frames > 1 else "")


def _statistics(folder: Path, name: str) -> dict[str, Any]:
    """What `sample` noted of a prompt; nothing where it did not."""
    try:
        noted = json.loads((folder / f"{name}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
