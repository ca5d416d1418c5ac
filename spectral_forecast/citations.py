"""What is to be cited by those who use a forecaster?"""

from collections.abc import Iterator

from spectral_forecast import forecasters
from spectral_forecast._papers import PAPERS, software
from spectral_forecast._typing import Forecaster, GramForecaster, LinearForecaster

__all__ = ["citation"]

_OURS = "this software"
# Linear extrapolation and Newton's polynomial are nobody's: they cite what they are part of.
_SOURCES: dict[type, tuple[str, ...]] = {
    forecasters.Reuse: ("fora",),
    forecasters.Newton: (),
    forecasters.TaylorSeer: ("taylorseer",),
    forecasters.Hermite: ("hicache", "taylorseer"),
    forecasters.AdamsBashforth: ("ab-cache",),
    forecasters.FoCa: ("foca",),
    forecasters.Chebyshev: ("spectrum",),
    forecasters.AnalyticKernel: (_OURS,),
    forecasters.Blaschke: (_OURS,),
    forecasters.FloaterHormann: ("floater-hormann",),
    forecasters.Shanks: ("shanks",),
    forecasters.DMD: ("dmd",),
    forecasters.Shrink: ("racer",),
    forecasters.TCPade: ("tc-pade", _OURS),
    forecasters.TCPadePaper: ("tc-pade",),
    forecasters.TCPadeReleased: ("tc-pade",),
    forecasters.Profile: ("l2p", "dpcache", _OURS),
    forecasters.Combination: (),
}


def citation(forecaster: LinearForecaster | GramForecaster | Forecaster) -> str:
    """Return what to cite for a forecaster, in BibTeX.

    Parameters
    ----------
    forecaster : forecaster
        Any of this library's, a mixture of them, or one of your own.

    Returns
    -------
    str
        The papers that the rule and its parts come from, each once. Rules of ours, and those that are in no table here,
        cite this software.

    Raises
    ------
    TypeError
        If it is no forecaster.

    Examples
    --------
    >>> from spectral_forecast import Reuse, citation, spectrum
    >>> print(citation(Reuse()))
    @misc{selvaraju2024fora,
      title = {{FORA}: Fast-Forward Caching in Diffusion Transformer Acceleration},
      author = {Selvaraju, Pratheba and Ding, Tianyu and Chen, Tianyi and Zharkov, Ilya and Liang, Luming},
      year = {2024},
      eprint = {2407.01425},
      archiveprefix = {arXiv},
    }
    >>> [line for line in citation(spectrum(0.5, mode="free")).splitlines() if line.startswith("@")]
    ['@inproceedings{han2026spectrum,', '@software{spectral_forecast,']
    """
    from spectral_forecast import __version__  # not there yet while the package imports this module

    if isinstance(forecaster, type) or not (hasattr(forecaster, "weights") or hasattr(forecaster, "forecast")):
        raise TypeError(f"`forecaster` is {forecaster!r}; write a forecaster, as in `citation(spectrum())`.")
    names = list(dict.fromkeys(_sources(forecaster))) or [_OURS]
    names.sort(key=_OURS.__eq__)  # papers first; the order is kept otherwise
    return "\n\n".join(software(__version__) if name == _OURS else PAPERS[name] for name in names)


def _sources(forecaster: object) -> Iterator[str]:
    """Yield what a rule and its parts come from."""
    yield from _SOURCES.get(type(forecaster), (_OURS,))
    if isinstance(forecaster, forecasters.Chebyshev) and forecaster.free:
        yield _OURS  # low degrees without penalty
    if isinstance(forecaster, forecasters.Combination):
        for _, rule in forecaster.terms:
            yield from _sources(rule)
    if isinstance(forecaster, forecasters.Shrink):
        yield from _sources(forecaster.rule)
        yield from _sources(forecaster.other)
