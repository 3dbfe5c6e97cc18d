"""How often the verdict on draws catches a planted failure, and how often it cries wolf (`planted`).

Caught is what is not called GOOD. Sound runs are those by default; where they agree with a long run, a verdict below
GOOD is a false alarm, and where they do not, a GOOD one is a miss.
"""

import pytest
from planted import (
    BY_DEFAULT,
    BY_ONE_CHAIN,
    FARTHEST,
    FOUR_CHAINS,
    FROM_ONE,
    LONG,
    ONE_CHAIN,
    PLANTED,
    QUANTILES,
    THREE_AND_ONE,
    Judged,
    mechanisms,
    sound_and_planted,
    statuses,
    with_two_modes,
)
from proportions import Share
from recording import Record, Row

pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

DATA_SETS, DATA_SETS_WITH_TWO_MODES = 15, 40
CLAIM = 0.95
"""Share of the failures that should be caught, and of sound runs that should be GOOD."""

REASONS = {"one chain of four frozen": "frozen", "half-normal scales on rounded data": "ties"}
"""What must be among the reasons where a failure has one of its own."""


def described(found: list[Judged]) -> str:
    """Statuses, and the reasons most often given."""
    reasons = [f"{name} {count}" for name, count in list(mechanisms(found).items())[:3]]
    counts = " / ".join(map(str, statuses(found).values()))
    return f"{counts} of {len(found)}" + (f" ({', '.join(reasons)})" if reasons else "")


def caught(found: list[Judged]) -> Share:
    """Not called GOOD."""
    return Share.of([one.status != "GOOD" for one in found])


def planted_row(name: str, found: list[Judged]) -> Row:
    what = "verdict on a planted failure: GOOD / DOUBTFUL / BAD (reasons)"
    return Row(what, name, f"at least {CLAIM:.0%} not GOOD", described(found), caught(found).interval[1] >= CLAIM)


def numbers(found: list[Judged]) -> dict[str, object]:
    right = [one for one in found if one.right]
    wrong = [one for one in found if not one.right]
    by_answer = {"right": statuses(right), "wrong": statuses(wrong)}
    return {"n": len(found), "statuses": statuses(found), "by answer": by_answer, "reasons": mechanisms(found)}


def settings(n_data_sets: int) -> dict[str, object]:
    right = {"quantiles": QUANTILES, "farthest": FARTHEST, "draws of a chain of the long run": LONG}
    return {"data sets of a problem": n_data_sets, "right": right, "seeds": "number of the data set; long run 1"}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_failures_are_caught(name: str, record: Record) -> None:
    n_data_sets = record.number(DATA_SETS)
    found = sound_and_planted(n_data_sets)[name]
    record(f"verdict_{code(name)}", [planted_row(name, found)], settings(n_data_sets), {name: numbers(found)})
    assert caught(found).interval[1] >= CLAIM
    if name in REASONS:
        assert all(REASONS[name] in one.mechanisms for one in found)


def test_a_chain_in_another_mode_is_noticed(record: Record) -> None:
    n_data_sets = record.number(DATA_SETS_WITH_TWO_MODES)
    found = with_two_modes(n_data_sets)[THREE_AND_ONE]
    lines = [planted_row(THREE_AND_ONE, found)]
    record(f"verdict_{code(THREE_AND_ONE)}", lines, settings(n_data_sets), {THREE_AND_ONE: numbers(found)})
    assert caught(found).interval[1] >= CLAIM
    assert all("explanations" in one.mechanisms for one in found)


@pytest.mark.parametrize("name", [BY_DEFAULT, BY_ONE_CHAIN, FROM_ONE])
def test_two_modes_get_their_masses(name: str, record: Record) -> None:
    """The two halves of the data are mirror images, so that each mode has half of the mass."""
    n_data_sets = record.number(DATA_SETS_WITH_TWO_MODES)
    found = with_two_modes(n_data_sets)[name]
    share = Share.of([one.right and one.sampling == "GOOD" for one in found])
    missed = sum(one.sampling == "GOOD" and not one.right for one in found)
    holds = share.interval[1] >= CLAIM
    what = "two modes of equal mass: sampling GOOD, masses one half within three errors"
    lines = [Row(what, f"{name}; {missed} wrong ones called GOOD", f"at least {CLAIM:.0%}", str(share), holds)]
    record(f"verdict_two_modes_{code(name)}", lines, settings(n_data_sets), {f"two modes, {name}": numbers(found)})
    assert holds


@pytest.mark.parametrize("name", [FOUR_CHAINS, ONE_CHAIN])
def test_sound_runs_are_good(name: str, record: Record) -> None:
    """At 5 sd nothing is wrong and a verdict below GOOD a false alarm; nowhere may a wrong answer be called GOOD."""
    n_data_sets = record.number(DATA_SETS)
    found = sound_and_planted(n_data_sets)[name]
    right = [one for one in found if one.right]
    good, missed = statuses(right)["GOOD"], statuses([one for one in found if not one.right])["GOOD"]
    share = Share(good, len(right))
    what = "sound run by default: GOOD / DOUBTFUL / BAD (reasons)"
    setting = f"{name}; {len(right)} of {len(found)} right by a long run, {missed} wrong ones called GOOD"
    holds = share.interval[1] >= CLAIM and not missed
    line = Row(what, setting, f"right ones at least {CLAIM:.0%} GOOD", described(right), holds)
    record(f"verdict_{code('sound ' + name)}", [line], settings(n_data_sets), {f"sound, {name}": numbers(found)})
    assert missed == 0
    assert share.interval[1] >= CLAIM


def code(name: str) -> str:
    """Name of a failure for a file."""
    return "".join(letter if letter.isalnum() else "_" for letter in name).replace("__", "_")
