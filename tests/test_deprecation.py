"""Names that go warn first, where they are used."""

import inspect
import sys
import types

import pytest

from spectral_forecast.deprecation import deprecated, renamed

WHEN = {"since": "0.2.0", "removed": "0.4.0"}


@deprecated("write `twice`", **WHEN)
def double(x: float, *, times: int = 2) -> float:
    """Return twice as much."""
    return times * x


def test_a_function_warns_where_it_is_called():
    with pytest.warns(
        DeprecationWarning, match="`double` is deprecated since 0.2.0 and goes with 0.4.0; write `twice`."
    ) as caught:
        assert double(3.0) == 6.0
    assert [warning.filename for warning in caught] == [__file__]


def test_everything_else_about_it_stays():
    assert str(inspect.signature(double)) == "(x: float, *, times: int = 2) -> float"
    assert double.__name__ == "double"
    assert inspect.getdoc(double).startswith("Return twice as much.\n\n`double` is deprecated")


def test_a_name_of_a_module_warns_where_it_is_imported(monkeypatch):
    module = types.ModuleType("old_module")
    module.__getattr__ = renamed("old_module", {"Old": ("New", dict)}, **WHEN)
    monkeypatch.setitem(sys.modules, "old_module", module)
    with pytest.warns(DeprecationWarning, match="`old_module.Old` is deprecated .*; write `New`"):
        from old_module import Old
    assert Old is dict
    with pytest.raises(ImportError, match="cannot import name 'Other'"):
        from old_module import Other  # noqa: F401
    assert not hasattr(module, "Other")
