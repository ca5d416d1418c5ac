"""How does a public name go? It warns first, and says what to write instead."""

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["deprecated", "renamed"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _words(name: str, instead: str, since: str, removed: str) -> str:
    return f"`{name}` is deprecated since {since} and goes with {removed}; {instead}."


def deprecated(instead: str, *, since: str, removed: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a function warn where it is called.

    Parameters
    ----------
    instead : str
        What to do, as in "write `schedules.even(n, count)`".
    since, removed : str
        The version that warns first, and the one without it.

    Returns
    -------
    callable
        A decorator. The function's signature stays, its docstring says the same as the warning.

    Examples
    --------
    >>> import warnings
    >>> @deprecated("write `abs`", since="0.2.0", removed="0.4.0")
    ... def size(x):
    ...     return abs(x)
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     size(-2)
    2
    >>> print(caught[0].message)
    `size` is deprecated since 0.2.0 and goes with 0.4.0; write `abs`.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        words = _words(function.__qualname__.rpartition(".<locals>.")[2], instead, since, removed)

        @functools.wraps(function)
        def warns(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            warnings.warn(words, DeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        warns.__doc__ = f"{(function.__doc__ or '').rstrip()}\n\n{words}"
        return warns

    return decorate


def renamed(module: str, names: dict[str, tuple[str, object]], *, since: str, removed: str) -> Callable[[str], object]:
    """Return a module's ``__getattr__`` that still finds old names, and warns.

    Parameters
    ----------
    module : str
        ``__name__`` of the module.
    names : dict
        Old names, each with its new one and what it stands for.
    since, removed : str
        As in `deprecated`.

    Returns
    -------
    callable
        To be assigned to ``__getattr__`` at the end of the module.

    Examples
    --------
    >>> import warnings
    >>> find = renamed("somewhere", {"old": ("new", 3)}, since="0.2.0", removed="0.4.0")
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     find("old")
    3
    >>> print(caught[0].message)
    `somewhere.old` is deprecated since 0.2.0 and goes with 0.4.0; write `new`.
    """

    def find(name: str) -> object:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        new, value = names[name]
        warnings.warn(_words(f"{module}.{name}", f"write `{new}`", since, removed), DeprecationWarning, stacklevel=2)
        return value

    return find
