"""What do samples look like, side by side?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks
from spectral_forecast.plot._figure import saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_samples", "tiles"]


def plot_samples(
    rows: Mapping[str, ArrayLike],
    *,
    values: tuple[float, float] = (-1.0, 1.0),
    title: str = "",
    path: str | Path | None = None,
) -> "Figure":
    """Draw a row of samples for each run, one run below the other.

    Parameters
    ----------
    rows : mapping of array_like
        By what is written beside the row, in one line or more: samples as for `tiles`, equally many of one size.
    values : tuple of float
        What is black and what is white.
    title : str
        Written above the picture.
    path : str or Path, optional
        Where to save the picture, in the format of its ending.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(size=(8, 16, 16))
    >>> figure = plot_samples({"full run": noise, "14 evaluations": noise + 0.1})
    >>> len(figure.axes)
    2
    """
    from matplotlib.figure import Figure

    strips = {name: tiles(samples, len(np.asarray(samples)), values=values) for name, samples in rows.items()}
    if len({strip.shape for strip in strips.values()}) != 1:
        shapes = ", ".join(f"{name!r}: {np.asarray(samples).shape}" for name, samples in rows.items())
        raise ValueError(f"`rows` holds {shapes or 'nothing'}; write equally many samples of one size for each run.")
    height, width = next(iter(strips.values())).shape[:2]
    figure = Figure(figsize=(12.5, (0.03 + 11.0 * height / width) * len(strips)), layout="compressed")
    for axis, (name, strip) in zip(figure.subplots(len(strips), 1, squeeze=False)[:, 0], strips.items(), strict=True):
        axis.imshow(strip, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axis.set_xticks([])
        axis.set_yticks([0.5 * (height - 1)], labels=[name], fontsize=8, multialignment="right")
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.suptitle(title)
    return saved(figure, path)


def tiles(samples: ArrayLike, across: int, *, values: tuple[float, float] = (-1.0, 1.0)) -> NDArray[np.float64]:
    """Put samples side by side into one picture, for `imshow` with ``cmap="gray", vmin=0, vmax=1`` or a file.

    Parameters
    ----------
    samples : array_like, shape (n, h, w), (n, h, w, 3) or (n, 3, h, w)
        On the host; what is outside ``values`` is clipped.
    across : int
        Samples in a row. The last row is filled up with grey.
    values : tuple of float
        What is black and what is white.

    Returns
    -------
    ndarray, shape (H, W) or (H, W, 3)
        From 0 to 1, with a grey line of one pixel around each sample.

    Examples
    --------
    >>> import numpy as np
    >>> tiles(np.zeros((10, 16, 16)), 5).shape
    (36, 90)
    """
    pixels = np.asarray(samples, dtype=np.float64)
    if pixels.ndim == 4 and pixels.shape[1] == 3 and pixels.shape[3] != 3:
        pixels = np.moveaxis(pixels, 1, -1)
    if pixels.ndim not in (3, 4) or 0 in pixels.shape or pixels.shape[3:] not in ((), (3,)):
        raise ValueError(f"`samples` has shape {np.shape(samples)}; write (n, h, w), (n, h, w, 3) or (n, 3, h, w).")
    across = _checks.integer("across", across, least=1)
    black, white = values
    if not black < white:
        raise ValueError(f"`values` is {values}; write what is black, then what is white, such as (-1, 1).")
    pixels = (pixels.clip(black, white) - black) / (white - black)
    frame = [(0, -len(pixels) % across), (1, 1), (1, 1), *[(0, 0)] * (pixels.ndim - 3)]
    pixels = np.pad(pixels, frame, constant_values=0.3)
    height, width, *channels = pixels.shape[1:]
    parts = pixels.reshape(-1, across, height, width, *channels).swapaxes(1, 2)
    return parts.reshape(-1, across * width, *channels)
