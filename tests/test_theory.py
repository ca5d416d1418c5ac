"""The theory checks: they pass, they can fail, and they say what they claim to say."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from spectral_forecast import Chebyshev, Newton, bounds, ellipse
from spectral_forecast.theory import certificate, functions, paper, run, strategies, trajectory
from spectral_forecast.theory.__main__ import main
from spectral_forecast.theory.statement import Tally, batches

every_statement = pytest.mark.parametrize("module", run.STATEMENTS, ids=lambda m: m.STATEMENT.name)


@every_statement
def test_holds_on_drawn_cases(module):
    first, *others = module.check(3000, seed=1)
    assert first.cases == 3000
    assert [outcome.violations for outcome in (first, *others)] == [0] * (1 + len(others))
    assert first.worst <= 1.0 + 1e-9
    if module.STATEMENT.sharp:
        assert first.tight > 0


@every_statement
def test_its_wrong_variant_is_caught(module):
    assert sum(outcome.violations for outcome in module.check(2000, seed=2, bound=module.wrong)) > 0


@every_statement
def test_a_bound_of_one_percent_less_is_caught_where_sharp(module):
    def short(*arguments, **keywords):
        original = module.check.__kwdefaults__["bound"]
        return 0.99 * np.asarray(original(*arguments, **keywords))

    caught = sum(outcome.violations for outcome in module.check(3000, seed=3, bound=short))
    assert caught > 0 or not module.STATEMENT.sharp


@every_statement
def test_is_reproducible(module):
    assert module.check(500, seed=4) == module.check(500, seed=4)
    assert module.check(500, seed=4) != module.check(500, seed=5)


@every_statement
def test_says_everything_in_words_and_formulas(module):
    statement = module.STATEMENT
    assert all(map(len, (statement.title, statement.words, statement.latex, statement.proof, statement.wrong)))
    text = statement.words + statement.proof
    assert text.count("$") % 2 == 0
    assert statement.latex.count("{") == statement.latex.count("}")


def test_a_tally_counts_what_it_should():
    tally = Tally("")
    tally.add([np.nan, np.inf, 1.0, 1.0 + 2e-9, 0.995, 0.0], 1.0)
    tally.add(1.5, 1.0, rounding=1.0)
    found = tally.outcome()
    assert (found.cases, found.violations, found.tight) == (7, 3, 2)
    assert Tally("").outcome().cases == 0


@given(st.integers(1, 500), st.integers(1, 70))
def test_batches_add_up(examples, size):
    done = []
    assert sum(batches(examples, done.append, size)) == examples == sum(done)


# --- functions


@pytest.mark.parametrize("function", functions.CATALOGUE, ids=lambda f: f.name)
def test_catalogue_coefficients_decay_as_the_singularities_say(function):
    c = functions.coefficients(function, 800)
    x = np.linspace(-1.0, 1.0, 33)
    assert chebyshev.chebval(x, c) == pytest.approx(function(x), abs=1e-11)
    rho = min(0.97 * function.rho, 20.0) if function.rho > 1.25 else 1.0 + 0.9 * (function.rho - 1.0)
    size = ellipse.bound(function, rho)
    assert np.isfinite(size)
    with np.errstate(under="ignore"):
        assert (np.abs(c[1:]) <= 2 * size * rho ** -np.arange(1.0, c.size) + 1e-13).all()
    if np.isfinite(function.rho):
        assert ellipse.bound(function, 1.02 * function.rho) == np.inf


@given(st.floats(1.05, 8.0), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_drawn_functions_are_bounded_as_they_say(rho, seed):
    drawn = functions.draw(np.random.default_rng(seed), rho, 4)
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, 500)
    u = rho * np.exp(1j * angles)
    assert (np.abs(drawn.call((u + 1 / u) / 2)) <= drawn.bound[:, None]).all()
    for row in range(4):
        one = ellipse.bound(lambda z, row=row: drawn.call(z)[row], rho)
        assert one == pytest.approx(drawn.bound[row], rel=0.01)


@given(st.floats(1.05, 8.0), st.integers(0, 2**32 - 1), st.sampled_from([1, 3]))
def test_drawn_series_keep_their_limits(rho, seed, channels):
    c = functions.draw_series(np.random.default_rng(seed), rho, 8, 40, channels=channels)
    limit = 2 * rho ** -np.arange(40.0)
    limit[0] = 1.0
    assert (np.linalg.norm(c, axis=1) <= limit * (1 + 1e-12)).all()


@given(strategies.functions, strategies.rules, strategies.runs())
def test_every_function_of_the_catalogue_keeps_every_rules_worst_case(function, rule, drawn):
    times, t = drawn
    w = rule.weights(times, t)
    rho = 1.0 + 0.7 * (min(function.rho, 3.0) - 1.0)
    limit = bounds.worst_case(w, times, t, rho=rho, bound=ellipse.bound(function, rho))
    assert abs(function(t) - w @ function(times)) <= limit * (1 + 1e-9) + 1e-12 * (1 + np.abs(w).sum())


# --- the paper


def test_the_counterexample_in_numbers():
    found = paper.counterexample()
    assert (found.step.size, int(np.sum(found.error > found.printed))) == (40, 15)
    at = np.flatnonzero(found.step == 43)[0]
    assert (round(found.error[at], 3), round(found.printed[at], 3)) == (4.149, 1.803)
    assert (found.error <= found.corrected).all()


def test_the_worst_case_is_below_theorem_3_3_everywhere():
    rows = paper.table()
    assert len(rows) == 10
    assert all(least >= 1.0 for _, _, least, *_ in rows)
    medians = [row[3] for row in rows]
    assert 6.0 < min(medians) < max(medians) < 20.0


def test_relative_errors_are_those_of_features():
    features = np.exp(np.outer(paper.CLOCK, [1.0, -2.0, 0.5]))
    evaluate = paper.SCHEDULES["10 evaluations"]
    forecast = paper.rows_of(Newton(1), evaluate) @ features
    expected = np.linalg.norm((forecast - features)[~evaluate]) / np.linalg.norm(features[~evaluate])
    assert paper.relative_error(features @ features.T, evaluate, Newton(1)) == pytest.approx(expected, rel=1e-6)
    step = np.flatnonzero(~evaluate)[7]
    times = paper.CLOCK[:step][evaluate[:step]]
    weights = Newton(1).weights(times, paper.CLOCK[step])
    assert forecast[step] == pytest.approx(weights @ features[:step][evaluate[:step]])


def test_the_least_singular_value_hides_the_schedule():
    least, printed, true, bias = paper.conditioning(paper.SCHEDULES["14 evaluations"]).T
    assert least[0] < 2e-6
    assert bias[0] > 0.999999
    assert (printed <= true * (1 + 1e-12)).all()
    assert (true <= 1 / (2 * np.sqrt(0.1)) * (1 + 1e-12)).all()


# --- certificates


def test_the_estimate_is_within_a_factor_two_on_nine_vectors_in_ten():
    for channels, ratio in certificate.drawn(8000, seed=5).items():
        within = np.mean((ratio >= 0.5) & (ratio <= 2.0))
        assert within >= (0.9 if channels >= 16 else 0.5)
        assert np.median(ratio) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("rho", [None, 2.0])
def test_following_a_run_uses_the_past_only(rho):
    rng = np.random.default_rng(6)
    features = (rng.normal(size=(24, 30)) * 2.0 ** -np.arange(30.0)) @ np.cos(
        np.outer(np.arange(30), np.arccos(paper.CLOCK))
    )
    gram = features.T @ features
    evaluate = paper.SCHEDULES["14 evaluations"]
    whole = certificate.follow(gram, evaluate, Chebyshev(), rho=rho)
    assert np.mean((whole.estimate / whole.error > 0.5) & (whole.estimate / whole.error < 2.0)) > 0.8
    assert np.mean(whole.slack() <= 2.0) > 0.9
    # Change everything after step 30: what was said before it may only change by the common scale.
    future = gram.copy()
    future[31:] *= 3.0
    future[:, 31:] *= 3.0
    other = certificate.follow(future, evaluate, Chebyshev(), rho=rho)
    before = whole.step <= 30
    scale = np.sqrt(np.mean(np.diag(future)) / np.mean(np.diag(gram)))
    for name in ("error", "estimate", "unit", "distance"):
        assert getattr(other, name)[before] * scale == pytest.approx(getattr(whole, name)[before], rel=1e-9, abs=1e-12)


def test_a_real_run_is_recorded():
    found = trajectory.record(2, guidance=2.0)
    if isinstance(found, str):
        pytest.skip(found)
    for one, size in zip(found, (6144, 256), strict=True):
        assert one.gram.shape == (2, 50, 50)
        assert one.size == size
        assert np.linalg.eigvalsh(one.gram).min() > -1e-9 * np.trace(one.gram, axis1=1, axis2=2).max()
    assert found[0].sigmas.shape == (51,)
    alone = trajectory.record(1, guidance=1.0)
    assert not isinstance(alone, str)
    # The first step's last block does not know of the guidance yet; the velocity does.
    assert alone[0].gram[0, 0, 0] == pytest.approx(found[0].gram[0, 0, 0], rel=1e-4)
    assert alone[1].gram[0, 0, 0] != pytest.approx(found[1].gram[0, 0, 0], rel=1e-4)


def test_a_summary_counts():
    record = certificate.Record(
        np.arange(4), np.array([1.0, 1.0, 1.4, 3.0]), np.ones(4), np.zeros(4), np.ones(4), np.full(4, 2.0)
    )
    found = certificate.summary([record])
    assert (found.cases, found.covered, found.covered_more, found.within_two) == (4, 0.5, 0.75, 0.75)
    assert found.interval == 0.75
    assert found.slack == pytest.approx(np.quantile([1.0, 1.0, 1.4, 3.0], 0.95))


# --- the command


def test_the_command_writes_a_report_without_the_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(trajectory, "record", lambda *_, **__: "no model here")
    assert main(["--examples", "640", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "FAILS" not in out
    text = (tmp_path / "report.md").read_text()
    assert "This part was left out: no model here." in text
    assert "4.149" in text
    assert "nan" not in text
    figures = [line.split("](")[1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(figures) >= 10
    assert all((tmp_path / name).stat().st_size > 5000 for name in figures)


def test_the_command_refuses_nonsense(capsys):
    with pytest.raises(SystemExit):
        main(["--examples", "0"])
    assert "--examples is 0" in capsys.readouterr().err


def test_theory_needs_no_framework():
    code = (
        "import sys\n"
        "import spectral_forecast.theory.run, spectral_forecast.theory.paper\n"
        "print(sorted({'torch', 'diffusers', 'jax', 'matplotlib', 'hypothesis', 'tqdm'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_folder_is_not_a_package_of_its_own():
    code = "import sys; sys.path.insert(0, '.'); import theory"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "write `import spectral_forecast.theory`" in found.stderr
