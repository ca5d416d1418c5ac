"""The diffusers adapter with context parallelism, on two processes of their own.

Of diffusers' two kinds only Ulysses' runs without a GPU: a ring asks the attention for more than its result, which no
kernel for processors gives.
"""

import pytest
from processes import found as run

EVALUATED = [0, 1, 2, 5, 9]


@pytest.fixture(scope="module")
def found():
    """What each of the two processes printed."""
    return run("on_2_processes.py", 2)


@pytest.mark.parametrize(
    ("case", "at"),
    [
        (f"{name} {at}, {first} first", at)
        for name in ("Flux", "Wan")
        for at in ("output", "features")
        for first in ("accelerated", "shared out")
        if (name, at, first) != ("Wan", "features", "shared out")  # see below
    ],
)
def test_results_are_those_of_one_process(found, case, at):
    for told in (rank[case] for rank in found):
        assert max(told["errors"]) < 2e-6
        assert told["effect"] > 0.02
        assert told["restored"] < 1e-6
        assert told["evaluated"] == [EVALUATED]
        assert told["at"] == at
        held, alone = told["bytes"]
        assert held == (alone if at == "output" else alone / 2), "every process keeps the features of its own tokens"
        assert not told["warnings"]


def test_blocks_that_share_out_must_be_accelerated_first(found):
    """Wan's first block is given all tokens and returns half of them; what it is given cannot be handed on."""
    for told in (rank["Wan features, shared out first"] for rank in found):
        assert told["at"] == "output"
        assert "cannot be split (its blocks change the shape" in told["warnings"][0]
        assert told["evaluated"] == [EVALUATED]
        assert told["restored"] < 1e-6


@pytest.mark.parametrize("at", ["output", "features"])
def test_processes_decide_alike(found, at):
    """A number that is not finite in one process is so in both, or they would wait for each other for ever."""
    one, other = (rank["disagreement"][at] for rank in found)
    assert one == other
    assert "its forecast was not finite" in one["forecast"]["events"][0]
    assert "its feature was not finite" in one["evaluation"]["events"][0]


@pytest.mark.parametrize("at", ["output", "features"])
def test_processes_record_one_profile(found, at):
    """And each has the same one, or they would plan different steps."""
    one, other = (rank["recorded"][at] for rank in found)
    assert one == other
    assert one["error"] < 1e-5


@pytest.mark.parametrize("at", ["output", "features"])
def test_processes_choose_steps_alike(found, at):
    """Whichever sees larger errors: an evaluation is a conversation."""
    one, other = (rank["gated"][at] for rank in found)
    assert one == other
    alone, both, seen = one
    assert both == alone
    assert len(seen) > len(alone)
