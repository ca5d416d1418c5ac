"""How does a model stop before its head and start there again? Plain functions; modules are in `_modules`."""

from collections.abc import Callable
from typing import Any

__all__ = ["output", "resumable"]

Resumable = Callable[..., tuple[Any, Any]]


def resumable(trunk: Callable[..., Any], head: Callable[..., Any]) -> Resumable:
    """Return ``model(*args, feature=None) -> (out, feature)`` of a trunk and a head.

    Parameters
    ----------
    trunk : callable
        ``trunk(*args) -> feature``: everything that a forecast replaces.
    head : callable
        ``head(feature, *args) -> out``: what runs at every step. What the head needs besides the feature (the
        embedding of the timestep, say) it computes from ``args`` again.

    Returns
    -------
    callable
        The resumable model. Keyword arguments go to both parts.

    Examples
    --------
    >>> model = resumable(lambda x, t: x * t, lambda feature, x, t: feature + t)
    >>> model(2.0, 3.0)
    (9.0, 6.0)
    >>> model(2.0, 3.0, feature=10.0)
    (13.0, 10.0)
    """

    def model(*args: Any, feature: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        if feature is None:
            feature = trunk(*args, **kwargs)
        return head(feature, *args, **kwargs), feature

    return model


def output(model: Callable[..., Any]) -> Resumable:
    """Return the resumable form of a model whose output itself is forecast.

    Parameters
    ----------
    model : callable
        ``model(*args) -> out``.

    Returns
    -------
    callable
        ``model(*args, feature=None) -> (out, out)``.

    Examples
    --------
    >>> output(lambda x: 2 * x)(3.0)
    (6.0, 6.0)
    """
    return resumable(model, lambda feature, *_args, **_kwargs: feature)
