"""The comparison page: up to date, and its numbers by hand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import spectral_forecast as sf
from spectral_forecast import GramRun, TCPadePaper, TCPadeReleased, TCPadeRun, schedules
from spectral_forecast.benchmarks import comparison
from spectral_forecast.forecasters import tcpade

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_the_command_writes(tmp_path):
    command = [sys.executable, "-m", "spectral_forecast.benchmarks.comparison", "--out", str(tmp_path / "page.md")]
    subprocess.run(command, check=True, cwd=ROOT)
    written = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert written == comparison.page()
    assert written == (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")


def test_it_imports_no_framework():
    code = (
        "import sys, spectral_forecast.benchmarks.comparison as c; c.page(); "
        "print([name for name in ('torch', 'jax', 'diffusers', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("rule", "sums"),
    [
        (sf.Reuse(), [1, 1, 1, 1]),
        # The newest gap is 4 steps: 1 + 2 k / 4, and half the slope for HiCache.
        (sf.Newton(1), [1.5, 2, 3, 5]),
        (sf.TaylorSeer(1), [1.5, 2, 3, 5]),
        (sf.Hermite(1), [1.25, 1.5, 2, 3]),
        # Lagrange with equal gaps, s = 1/4, 1/2, 1, 2 gaps ahead: (s+1)(s+2)/2 + s(s+2) + s(s+1)/2.
        (sf.Newton(2), [2.125, 3.5, 7, 17]),
        # c + k D1 + k^2 D2 / 2 with D1 = (c - b)/4, D2 = (c - 2b + a)/16.
        (sf.TaylorSeer(2), [1.625, 2.5, 5, 13]),
    ],
)
def test_sums_of_weights_by_hand(rule, sums):
    found = [comparison.amplification(rule, k) for k in comparison.HORIZONS]
    assert found == pytest.approx(sums, rel=1e-12)


@pytest.mark.parametrize("rho", comparison.RHOS)
def test_worst_cases_by_hand(rho):
    # T_m(1) - T_m(-1) is 2 at odd m and 0 at even: beta = 4 (1/rho + 1/rho^3 + ...).
    assert comparison.worst_case(sf.Reuse(), np.array([-1.0]), 1.0, rho) == pytest.approx(4 * rho / (rho**2 - 1))
    # T_m(1) + T_m(-1) - 2 T_m(0) is 4 at m = 2, 6, 10, ... and 0 elsewhere: beta = 8 (rho^-2 + rho^-6 + ...).
    expected = 8 * rho**-2.0 / (1 - rho**-4.0)
    assert comparison.worst_case(sf.Newton(1), np.array([-1.0, 0.0]), 1.0, rho) == pytest.approx(expected)


def test_worst_cases_of_the_page_bound_sampled_functions():
    times, t = comparison._times(), comparison._target(4)
    draw = np.random.default_rng(0)
    for entry in comparison.RULES:
        beta = comparison.worst_case(entry.rule, times, t, 2.0)
        w = entry.rule.with_step(comparison.STEP).weights(times, t)
        for _ in range(20):
            c = draw.uniform(-1, 1, size=60) * 2.0 ** (1 - np.arange(60.0))
            c[0] /= 2
            error = np.polynomial.chebyshev.chebval(t, c) - w @ np.polynomial.chebyshev.chebval(times, c)
            assert abs(error) <= beta * (1 + 1e-9)


def test_features_read_by_hand():
    read = {entry.name: comparison.features_read(entry.rule) for entry in comparison.RULES}
    assert [read[name] for name in ("Reuse", "Newton(1)", "Newton(3)", "Hermite(2)", "spectrum()")] == [1, 2, 4, 3, 9]


def test_every_shipped_rule_is_on_the_page():
    page = comparison.page()
    for name in sf.forecasters.__all__:
        if name not in ("Combination", "LinearRule", "GramRule"):
            assert (f"`{name}`" in page) or (f"`{name}(" in page), name


@pytest.mark.parametrize(("rule", "held", "products"), [(sf.Shanks(), 3, 4), (sf.Shanks(2), 5, 6), (sf.DMD(6), 6, 7)])
def test_inner_products_an_evaluation(rule, held, products):
    sent = []

    def count(sums):
        sent.append(len(sums))
        return sums

    run = GramRun(rule, np.arange(20), np.ones(20, dtype=bool), keep=held, reduce=count)
    features = np.random.default_rng(0).normal(size=(20, 4))
    for step in range(20):
        run.keep(step, features[step])
    assert max(sent) == products
    assert sent[-1] == products
    times = np.arange(-0.5, -0.5 + 0.05 * held, 0.05)[:held]
    reads = {3: 2, 5: 3, 6: 5}[held]
    assert np.count_nonzero(np.abs(rule.weights(times, times[-1] + 0.02, run.gram)) > 0) == reads


@pytest.mark.parametrize(("form", "forecast", "gate"), [(TCPadePaper(0.0), 3, 6), (TCPadeReleased(0.0), 6, 15)])
def test_inner_products_a_skipped_step(monkeypatch, form, forecast, gate):
    counted = []
    real = tcpade.row

    def count(kept, feature):
        counted.append(len(kept) + 1)
        return real(kept, feature)

    monkeypatch.setattr(tcpade, "row", count)
    run = TCPadeRun(form, 20, schedules.mask(20, range(10)))
    draw = np.random.default_rng(0)
    for step in range(10):
        run.keep(step, draw.normal(size=4), np.ones(4))
    counted.clear()
    assert not run.evaluates(10)
    assert sum(counted) == gate
    counted.clear()
    run.forecast(10, np.ones(4))
    assert sum(counted) == forecast
