"""How wrong are runs at each step, and what does an evaluation more gain?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectral_forecast import _checks
from spectral_forecast.plot._figure import saved
from spectral_forecast.schedules import Mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_errors", "plot_quality"]


def plot_errors(
    errors: Mapping[str, ArrayLike],
    *,
    evaluated: Mapping[str, Mask] | None = None,
    styles: Mapping[str, str] | None = None,
    quantity: str = "relative error",
    log: bool = True,
    title: str = "",
    path: str | Path | None = None,
) -> "Figure":
    """Draw how wrong runs are, step by step; dots mark the steps at which the network runs.

    Parameters
    ----------
    errors : mapping of array_like, shape (N,)
        By the names of the runs: relative errors, PSNR or whatever is measured after each step. What is not finite is
        not drawn, nor is 0 on a logarithmic axis. A run with one value alone (another sampler's last) is a diamond.
    evaluated : mapping of ndarray of bool, shape (N,), optional
        Which steps each run evaluates; runs that are left out have no dots.
    styles : mapping of str, optional
        Matplotlib's styles of lines (``"--"``) by run; solid by default.
    quantity : str
        What is measured, at the vertical axis.
    log : bool
        Whether that axis is logarithmic; PSNR in dB is not.
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
    >>> errors = {"Spectrum": [0.0, 0.01, 0.02, 0.02], "ours": [0.0, 0.004, 0.005, 0.006]}
    >>> figure = plot_errors(errors, evaluated={"ours": np.array([True, False, True, False])})
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['Spectrum', 'ours']
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    evaluated, styles = evaluated or {}, styles or {}
    for option, names in (("evaluated", evaluated.keys()), ("styles", styles.keys())):
        for name in names - errors.keys():
            raise ValueError(f"`{option}` names {name!r}, `errors` does not; write one of {', '.join(errors)}.")
    figure = Figure(figsize=(9.5, 5.5 + 0.1 * len(errors)), layout="constrained")
    axis = figure.subplots()
    colours = colormaps["tab10" if len(errors) <= 10 else "tab20"]
    for number, (name, given) in enumerate(errors.items()):
        values = _vector(f"errors[{name!r}]", given)
        shown = np.where(np.isfinite(values) & ((values > 0.0) | (not log)), values, np.nan)
        marked = np.zeros(values.size, dtype=bool)
        if name in evaluated:
            marked = _checks.mask(f"evaluated[{name!r}]", evaluated[name], values.size)
        alone = np.isfinite(shown).sum() == 1
        axis.plot(
            np.arange(values.size),
            shown,
            linestyle="" if alone else styles.get(name, "-"),
            marker="D" if alone else "o",
            markersize=6 if alone else 3,
            markevery=None if alone else np.flatnonzero(marked).tolist(),
            linewidth=1.3,
            color=colours(number % colours.N),
            label=name,
        )
    if log:
        axis.set_yscale("log")
    axis.set_xlabel("step" + (" (dots: the network runs)" if evaluated else ""))
    axis.set_ylabel(quantity)
    axis.set_title(title, fontsize="medium")
    axis.grid(visible=True, alpha=0.3)
    figure.legend(
        loc="outside lower center", ncols=1 + (len(errors) > 1) + (len(errors) > 6), frameon=False, fontsize=8
    )
    return saved(figure, path)


def plot_quality(
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    levels: Mapping[str, float] | None = None,
    level: str = "full run",
    quantity: str = "PSNR / dB",
    across: int = 4,
    title: str = "",
    path: str | Path | None = None,
) -> "Figure":
    """Draw quality against evaluations, a panel for each model or setting and a line for each method.

    Parameters
    ----------
    panels : mapping of mapping of array_like, shape (n, 2) or (n, 3)
        By the panels' titles, and in each by the names of its methods: evaluations, quality and, if there is a third
        column, half the length of an error bar. A method has one colour in all panels.
    levels : mapping of float, optional
        By panels' titles, a quality that is reached without forecasts: a dotted line.
    level : str
        What that is, in the legend.
    quantity : str
        What is measured, at the vertical axis.
    across : int
        Panels side by side, at most.
    title : str
        Written above the picture.
    path : str or Path, optional
        Where to save the picture, in the format of its ending.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> measured = {"default": [[8, 45.8], [14, 55.4]], "Euler, fewer steps": [[8, 31.0], [14, 36.1]]}
    >>> figure = plot_quality({"digits, guidance 2": measured})
    >>> figure.axes[0].get_title()
    'digits, guidance 2'
    """
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("`panels` is empty; write one at least.")
    columns = min(_checks.integer("across", across, least=1), len(panels))
    rows, levels = -(-len(panels) // columns), levels or {}
    methods = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    figure = Figure(figsize=(max(6.5, 3.25 * columns), max(4.0, 2.7 * rows)), layout="constrained")
    axes = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    legend: dict[str, Any] = {}
    for axis, (name, panel) in zip(axes, panels.items(), strict=False):
        for method, given in panel.items():
            table = np.asarray(given, dtype=np.float64)
            if table.ndim != 2 or table.shape[1] not in (2, 3):
                raise ValueError(
                    f"`panels[{name!r}][{method!r}]` has shape {table.shape}; write rows of evaluations and quality, "
                    "with or without half an error bar."
                )
            spread = table[:, 2] if table.shape[1] == 3 else None
            style = {"fmt": "o-", "ms": 3, "lw": 1, "capsize": 2, "color": f"C{methods.index(method)}"}
            legend[method] = axis.errorbar(table[:, 0], table[:, 1], spread, label=method, **style)
        if name in levels:
            legend[level] = axis.axhline(levels[name], lw=0.8, ls=":", color="black", label=level)
        axis.set_title(name, fontsize=7 if columns > 2 else "medium")
        axis.grid(visible=True, alpha=0.3)
    for axis in axes[len(panels) - columns : len(panels)]:
        axis.tick_params(labelbottom=True)  # the lowest of its column
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel("evaluations")
    figure.supylabel(quantity)
    figure.legend(
        legend.values(),
        legend.keys(),
        loc="outside upper center",
        ncols=min(4, columns + 1),
        frameon=False,
        title=title or None,  # a title of the figure's would overlap with it
    )
    return saved(figure, path)


def _vector(name: str, values: ArrayLike) -> NDArray[np.float64]:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"`{name}` has shape {vector.shape}; write one number for each step.")
    return vector
