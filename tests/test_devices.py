"""One network on 2 and on 4 processes, by its tokens or its weights: what they compute, decide and say to each other.

Everything is counted: what an evaluation says beside the network's own collectives, and what a forecast says. Faults
are put into one process alone; whatever happens has to happen within a bound of time.
"""

import pytest
from processes import found, launch

ON = [("tokens", 2), ("weights", 2), ("tokens", 4), ("weights", 4)]
VOTE = ["all_reduce", 1]


@pytest.fixture(scope="module", params=ON, ids=lambda on: f"{on[0]} on {on[1]}")
def shared(request):
    """What each process found, and how the network is shared out."""
    how, world = request.param
    return how, found("on_shared_flux.py", world, how, seconds=240)


def cases(ranks, *kinds):
    """Each rank's findings, for each place of features and kind of schedule."""
    return [(at, rank[at][kind]) for rank in ranks for at in rank for kind in kinds]


def test_results_are_those_of_one_process(shared):
    for at, told in cases(shared[1], "plan", "default", "tolerance"):
        assert max(told["errors"]) < 3e-6 < 5e-3 < told["effect"]
        assert told["again"]
        assert told["told"]["evaluated"] == told["alone"]
        assert told["told"]["at"] == at
        assert not told["told"]["events"]
        assert told["restored"] < 1e-6


def test_all_decide_alike(shared):
    first, *others = shared[1]
    for other in others:
        for at, told in first.items():
            for kind in ("plan", "default", "tolerance"):
                assert other[at][kind]["told"] == told[kind]["told"]
            for kind in ("spoilt", "slow", "stopped"):
                assert other[at][kind] == told[kind]


def test_an_evaluation_ends_with_one_vote(shared):
    for _, told in cases(shared[1], "plan", "default"):
        assert told["talk"]["evaluations"] == [[VOTE]] * 5


def test_a_forecast_says_nothing(shared):
    for _, told in cases(shared[1], "plan", "default"):
        assert told["talk"]["forecasts"] == [[]] * len(told["talk"]["forecasts"])


def test_of_a_forecast_only_the_head_speaks(shared):
    """With outputs nobody, and with features whatever comes after the blocks: the tokens are put together there."""
    how, ranks = shared
    for at, told in cases(ranks, "plan", "default", "tolerance"):
        for said in told["talk"]["head"]:
            assert [name for name, _ in said] == ["all_gather_into_tensor"] * ((how, at) == ("tokens", "features"))


def test_a_gate_adds_one_number_an_evaluation(shared):
    for _, told in cases(shared[1], "tolerance"):
        evaluations, forecasts = told["talk"]["evaluations"], told["talk"]["forecasts"]
        # The vote, and at the step after it what the gate is told; after the last step it is not asked again.
        assert [one for said in evaluations + forecasts for one in said] == [VOTE] * (2 * len(evaluations) - 1)
        assert evaluations[0] == [VOTE]
        assert all(said in ([], [VOTE]) for said in forecasts)


def test_inner_products_are_one_sum_of_as_many_numbers_as_are_kept(shared):
    for rank in shared[1]:
        for at in rank:
            first, *later = rank[at]["recorded"]
            assert later == [[VOTE, ["all_reduce", 1 + step]] for step in range(1, 12)]
            assert all(said == VOTE for said in first)
            # Once a network there is a proof that blocks can be skipped, which is voted on; then one that modules
            # before them need not run, either, after a run that tells which.
            assert len(first) <= 7 + 2


def test_what_is_not_finite_in_one_process_is_so_in_all(shared):
    for at, told in cases(shared[1], "spoilt"):
        assert told["forecast"]["restarts"] == 3
        assert told["forecast"]["finite"]
        assert "its forecast was not finite" in told["forecast"]["events"][0]
        assert told["evaluation"]["restarts"] >= 1
        assert "was not finite" in told["evaluation"]["events"][0]
        assert "was not finite" in told["gated"]["events"][0]
        if at == "features":  # the proof failed everywhere, in whichever process it failed
            assert told["proof"]["at"] == "output"
            assert told["proof"]["finite"]


def test_a_slow_process_changes_nothing(shared):
    for _, told in cases(shared[1], "slow"):
        assert told["same"]
        assert not told["events"]


def test_a_run_that_is_broken_off_leaves_nothing(shared):
    for _, told in cases(shared[1], "stopped"):
        assert told["same"]
        assert told["held"] == 0


@pytest.mark.parametrize(("kind", "own"), [("raises", "ValueError"), ("leaves", None), ("sleeps", "RuntimeError")])
def test_nobody_waits_longer_than_the_group_allows(kind, own):
    """One process fails after step 3; the group's patience is 4 seconds, and step 5 is the next evaluation."""
    other, failing = (process.found for process in launch("on_broken_group.py", 2, kind, seconds=90))
    assert other["error"] == "RuntimeError"
    assert other["seconds"] < 40  # the group's patience, on a machine that is busy with something else
    assert 4 <= other["steps"] <= 5
    assert failing["error"] == own
    assert other["plain"]  # `restore` leaves no trace all the same
    assert failing["plain"]


@pytest.fixture(scope="module", params=[2, 4])
def dtensors(request):
    """What each process found of a model of one's own."""
    return found("on_dtensors.py", request.param, seconds=150)


def test_tensors_of_every_layout_are_forecast_without_a_word(dtensors):
    for rank in dtensors:
        for name, places in rank.items():
            for at, told in places.items() if name != "spoilt" else ():
                # Parts that are plain tensors are guarded each by its own error.
                assert told["error"] < (1e-2 if (name, at) == ("parts", "features") else 1e-6)
                assert told["evaluated"] == told["alone"]
                assert told["events"] == []
                assert all(said == told["head"] for said in told["forecasts"])
                # Of items that no process has whole three norms of each, and two of all; the vote of a module. Around a
                # function that calls one nobody is known to vote, but the smallest and the largest number of such a
                # tensor are all's.
                sharded = (name, at) in (("sharded features", "features"), ("sharded outputs", "output"))
                votes = 1 if at == "features" else 2 * sharded
                more = [["all_reduce", 1]] * (votes + 2 * sharded) + [["all_reduce", 4]] * 3 * sharded
                assert all(sorted(said) == more for said in told["more"])


def test_models_of_ones_own_decide_alike(dtensors):
    first = dtensors[0]["spoilt"]
    for rank in dtensors:
        for name in ("plain tensors", "sharded features", "parts", "stored in parts"):
            assert rank["spoilt"][name] == first[name] == [0, 1, 4, 5, 6, 7, 10, 11]
