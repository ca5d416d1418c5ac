"""The benchmark of speed says what has become slower, and which of its statements hold."""

import copy
import json

import pytest

from spectral_forecast.benchmarks.speed import __main__ as command
from spectral_forecast.benchmarks.speed import statements
from spectral_forecast.benchmarks.speed.compare import compare
from spectral_forecast.benchmarks.speed.methods import OURS


def results(**changes):
    """Results of one contraction and one run, of which some numbers are changed."""
    contraction = {"method": OURS, "what": "forecast", "ours": True, "size": 10**7, "kept": 14, "dtype": "bfloat16"}
    contraction |= {"fraction": 0.8, "over": 6.0}
    run = {"network": "A", "large": True, "compiled": False, "method": "ours, outputs", "ours": True, "budget": 14}
    run |= {"share": 0.99, "parameters": 10**6}
    for key, value in changes.items():
        (run if key in run else contraction)[key] = value
    return {"machine": {"device": "cpu"}, "contraction": {"rows": [contraction]}, "runs": {"rows": [run]}}


@pytest.mark.parametrize("changes", [{}, {"fraction": 0.65}, {"over": 4.6}, {"share": 0.945}, {"fraction": 0.95}])
def test_equal_and_slightly_slower_results_pass(changes):
    assert compare([results()], [results(**changes)]) == ([], 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fraction": 0.6}, "forecast, combine, F = 1e+07, K = 14, bfloat16: fraction 0.8 has become 0.6"),
        ({"over": 4.4}, "over 6 has become 4.4"),
        ({"share": 0.93}, "A, ours, outputs, 14 evaluations: share 0.99 has become 0.93"),
    ],
)
def test_slower_results_fail(changes, words):
    (worse,), _ = compare([results()], [results(**changes)])
    assert words.replace("combine", OURS) in worse


@pytest.mark.parametrize("changes", [{"ours": False}, {"size": 10**5}])
def test_others_and_short_times_are_not_compared(changes):
    _, common = compare([results(**changes)], [results(**changes)])
    assert common == (1 if "size" in changes else 2)


def test_of_several_results_the_medians_are_compared():
    once, always = [results(fraction=f) for f in (0.5, 0.8, 0.79)], [results(fraction=f) for f in (0.5, 0.6, 0.8)]
    assert compare([results()], once) == ([], 3)
    assert "fraction 0.8 has become 0.6" in compare([results()], always)[0][0]
    assert compare([results(fraction=0.99), *once], once) == ([], 3)
    other = results(network="B")
    assert compare([results()], [results(share=0.5), other]) == ([], 2)  # only what all of them have


def test_results_that_have_nothing_in_common_are_refused():
    with pytest.raises(ValueError, match="nothing in common"):
        compare([results()], [results(kept=2, network="B")])
    other = copy.deepcopy(results()) | {"machine": {"device": "cuda"}}
    with pytest.raises(ValueError, match="measured on cpu, the new results on cuda"):
        compare([results()], [other])


@pytest.mark.parametrize(("share", "status"), [(0.99, 0), (0.5, 1)])
def test_the_command_says_what_is_worse_and_how_it_ended(tmp_path, capsys, share, status):
    for name, found in (("old", results()), ("new", results(share=share))):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    arguments = ["--compare", str(tmp_path / "old.json"), "--results", str(tmp_path / "new.json")]
    assert command.main(arguments) == status
    printed = capsys.readouterr().out
    assert f"3 ratios compared, {status} worse" in printed
    assert ("share 0.99 has become 0.5" in printed) == (status == 1)


def test_several_files_are_for_comparisons_only(tmp_path):
    for name, fraction in (("old", 0.8), ("one", 0.5), ("two", 0.78), ("three", 0.82)):
        (tmp_path / f"{name}.json").write_text(json.dumps(results(fraction=fraction)))
    old, *new = (str(tmp_path / f"{name}.json") for name in ("old", "one", "two", "three"))
    assert command.main(["--compare", old, "--results", *new]) == 0
    assert command.main(["--compare", old, "--results", new[0]]) == 1
    assert command.main(["--compare", *new, "--results", old]) == 0
    with pytest.raises(SystemExit, match="`--results` names several files"):
        command.main(["--quick", "--results", *new])


def test_what_is_not_measured_any_more_is_named(tmp_path, capsys):
    for name, found in (("old", results()), ("new", results(network="B"))):
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    assert command.main(["--compare", str(tmp_path / "old.json"), "--results", str(tmp_path / "new.json")]) == 0
    assert "Measured before and not now:\nA, ours, outputs, 14 evaluations: share" in capsys.readouterr().out


@pytest.mark.parametrize(("fraction", "holds"), [(0.7, "yes"), (0.69, "**no**")])
def test_a_statement_holds_if_every_number_does(fraction, holds):
    lines = statements.statements(results(fraction=fraction))
    assert lines[0][1] == holds
    assert "in 1 of 1" in lines[0][2] or holds == "**no**"
    assert lines[-1] == ["the speed-up is 98% of N/evaluations with A, at features", "–", "not measured"]


def test_the_largest_network_is_the_first():
    found = results(share=0.979)
    row = found["runs"]["rows"][0]
    found["runs"]["rows"] += [row | {"network": "B", "parameters": 10**9, "share": 0.98}]
    last = [line[:2] for line in statements.statements(found)[-4::2]]
    assert last == [
        [f"the speed-up is 98% of N/evaluations with {name}, at outputs", holds]
        for name, holds in (("B", "yes"), ("A", "**no**"))
    ]
