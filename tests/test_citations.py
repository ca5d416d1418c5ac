"""What is to be cited."""

import dataclasses
import re

import numpy as np
import pytest

import spectral_forecast as sf
from spectral_forecast import forecasters
from spectral_forecast._papers import PAPERS
from spectral_forecast.citations import _SOURCES, citation


def entries(rule):
    return re.findall(r"^@\w+\{([^,]+),$", citation(rule), flags=re.MULTILINE)


def test_every_rule_has_its_source():
    """A rule that is added without one fails here."""
    rules = {
        value
        for name in forecasters.__all__
        if isinstance(value := getattr(forecasters, name), type) and dataclasses.is_dataclass(value)
    }
    assert rules == set(_SOURCES)
    assert {name for names in _SOURCES.values() for name in names} == {*PAPERS, "this software"}


@pytest.mark.parametrize(
    ("rule", "cited"),
    [
        (sf.spectrum(), ["han2026spectrum"]),
        (sf.spectrum(0.5), ["han2026spectrum"]),
        (sf.spectrum(mode="free"), ["han2026spectrum", "spectral_forecast"]),
        (sf.Newton(2), ["spectral_forecast"]),
        (sf.AnalyticKernel(2.0), ["spectral_forecast"]),
        (sf.Hermite(2), ["feng2025hicache", "liu2025taylorseer"]),
        (sf.TCPade(), ["cui2026tcpade", "spectral_forecast"]),
        (sf.AnalyticKernel(2.0) + sf.TaylorSeer(1) - sf.TaylorSeer(2), ["liu2025taylorseer", "spectral_forecast"]),
        (sf.Shrink(sf.spectrum(), sf.Reuse()), ["li2026racer", "han2026spectrum", "selvaraju2024fora"]),
        (sf.Profile.from_runs([np.arange(8.0)[:, None] ** 2]), ["shen2026l2p", "cui2026dpcache", "spectral_forecast"]),
    ],
)
def test_what_is_cited(rule, cited):
    assert entries(rule) == cited


def test_a_rule_of_yours_cites_the_software():
    class Mine:
        def weights(self, times, t, /):
            return np.eye(len(times))[-1]

    assert entries(Mine()) == ["spectral_forecast"]
    assert f"version = {{{sf.__version__}}}" in citation(Mine())


@pytest.mark.parametrize("name", PAPERS)
def test_entries_are_bibtex(name):
    entry = PAPERS[name]
    assert entry.count("{") == entry.count("}")
    assert re.match(r"@\w+\{\w+,\n", entry)
    fields = re.findall(r"^  (\w+) = \{", entry, flags=re.MULTILINE)
    assert {"title", "author", "year"} <= set(fields)
    assert len(fields) == len(set(fields))
    assert ("eprint" in fields) != ("journal" in fields)


@pytest.mark.parametrize("wrong", ["spectrum", None, sf.Newton])
def test_something_else_is_refused(wrong):
    with pytest.raises(TypeError, match=r"`forecaster` is .*; write a forecaster"):
        citation(wrong)
