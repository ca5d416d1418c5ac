"""Which names do docstrings mean, and is every public name on a page?"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

import spectral_forecast

__all__ = ["missing", "public", "setup"]

# The command line has a page of its own, and benchmarks are programs.
APART = ("spectral_forecast.benchmarks", "spectral_forecast.cli", "spectral_forecast.__main__")
_as_written: dict[str, list[str]] = {}


def public() -> Iterator[tuple[str, Any]]:
    """Yield every name of every public module's ``__all__``, written out in full, and what it stands for."""
    for found in pkgutil.walk_packages(spectral_forecast.__path__, "spectral_forecast."):
        if not found.name.startswith(APART) and "._" not in found.name:
            module = importlib.import_module(found.name)
            for name in getattr(module, "__all__", ()):
                yield f"{found.name}.{name}", getattr(module, name)
    for name in spectral_forecast.__all__:
        yield f"spectral_forecast.{name}", getattr(spectral_forecast, name)


def missing(documented: set[str]) -> list[str]:
    """Return the public names that are not among those documented, under any name that means the same object."""
    there = {id(value) for name, value in public() if name in documented and _has_identity(value)}
    return sorted(
        name for name, value in public() if name not in documented and not (_has_identity(value) and id(value) in there)
    )


def undescribed() -> list[str]:
    """Return the public classes, functions and modules without a docstring."""
    return sorted(name for name, value in public() if _has_identity(value) and not inspect.getdoc(value))


def _has_identity(value: Any) -> bool:
    """Whether it is one object wherever it is imported: a class, a function or a module, and no number or text."""
    return inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect both to Sphinx."""
    app.connect("missing-reference", _resolve)
    app.connect("env-check-consistency", _check)
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _keep, priority=400)  # napoleon comes at 500
    app.connect("autodoc-process-docstring", _give_back, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _resolve(app: Sphinx, env: BuildEnvironment, node: Any, shown: Any) -> Any:
    """Link a name in single backticks to the one object whose full name ends in it; else leave it as code."""
    if node.get("reftype") != "obj" or node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removesuffix("()")
    objects = env.domains.python_domain.objects
    found = [name for name in objects if name == target or name.endswith(f".{target}")]
    if len(found) != 1:
        return shown if isinstance(shown, nodes.literal) else nodes.literal(node["reftarget"], shown.astext())
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, shown, found[0])


def _skip(app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    """Leave out a named tuple's fields, which its docstring describes."""
    alias = (getattr(value, "__doc__", None) or "").startswith("Alias for field number")
    return True if alias else None


def _keep(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Note an attribute's docstring, of which napoleon takes the words before the first colon for a type."""
    if what in ("attribute", "data", "property"):
        _as_written[name] = list(lines)


def _give_back(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = _as_written.pop(name, lines)


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    log = logging.getLogger(__name__)
    for name in missing(set(env.domains.python_domain.objects)):
        log.warning("public, but on no page: %s; add it below docs/api", name)
    for name in undescribed():
        log.warning("public, but without a docstring: %s", name)
