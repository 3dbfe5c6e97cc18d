"""How often the posterior's intervals of 90 % hold a truth that no prior knows of (`posterior_intervals`).

A prior that follows the data too closely shows here and nowhere else: under the scales that follow the variance of all
data the posterior is the more wrong the easier components are to tell apart, and its verdict GOOD. Errors are those of
data sets, for the parameters of one data set are not independent; all kinds of parameters of a cell are one test.
"""

import numpy as np
import pytest
from posterior_intervals import (
    ALONE,
    CORRELATED,
    DATA_SETS,
    DEFAULT,
    FLAT,
    FORMER,
    KINDS,
    LEVEL,
    MLE,
    OF_REFERENCES,
    POSTERIOR,
    SEPARATED,
    SMALL,
    UNEQUAL,
    UNIFORM,
    Cell,
    Found,
    as_expected,
    by_kind,
    coverage,
)
from proportions import Share, mean_and_error
from recording import Record, Row

pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

CLAIM = 0.95
"""Share of the verdicts that should be GOOD."""
LEAST_EACH = 0.85
"""Coverage of each single sd where sds differ a hundredfold."""
WHAT = f"{LEVEL:.0%} intervals of the posterior hold true sds / means / weights / correlations"
FAR = [cell for cell in SEPARATED if cell.n_features == 1 and cell.places[1] >= 50]
SHIFTS = {60: -0.4, 240: -0.2}
"""Farthest distance of posterior means of correlations from the sample's, in posterior sds, by the sample size."""


def of_cell(cell: Cell, record: Record, prior: str = DEFAULT, usual: int = DATA_SETS) -> Found:
    return coverage(cell, prior, record.number(usual))


def kinds(found: Found, method: str = POSTERIOR) -> dict[str, tuple[float, float]]:
    return by_kind(found.hits[method], found.kinds)


def percent(values: dict[str, tuple[float, float]]) -> str:
    """Coverage by kind, with its error."""
    return " / ".join(f"{100 * mean:.0f}±{100 * error:.0f}" for mean, error in values.values()) or "none"


def beside(found: Found) -> str:
    """Coverage of the posterior, of the fit, and fits without errors."""
    without = f", {found.without} fits without" if found.without else ""
    return f"{percent(kinds(found))}; MLE {percent(kinds(found, MLE))}{without}"


def holds(found: Found, of: tuple[str, ...] = KINDS) -> bool:
    values = [value for kind, value in kinds(found).items() if kind in of]
    return all(as_expected(value, LEVEL, len(values)) for value in values)


def numbers(found: Found) -> dict[str, object]:
    each = {method: hits.mean(0) for method, hits in found.hits.items() if len(hits)}
    return {
        "n": len(found.hits[POSTERIOR]),
        "without": found.without,
        "coverage": {method: kinds(found, method) for method in found.hits},
        "each": each,
        "posterior mean less MLE in sds": by_kind(found.from_mle, found.kinds),
        "posterior mean less truth in sds": by_kind(found.from_truth, found.kinds),
        "verdicts": found.statuses,
    }


def settings(cell: Cell, found: dict[str, Found]) -> dict[str, object]:
    n_data_sets = {prior: len(one.hits[POSTERIOR]) for prior, one in found.items()}
    return {"level": LEVEL, "data sets": n_data_sets, "seeds": "number of the data set", "cell": cell._asdict()}


def code(cell: Cell) -> str:
    """Name of a cell for a file."""
    words = "".join(letter if letter.isalnum() or letter == "." else " " for letter in str(cell)).split()
    return f"posterior_{'_'.join(words)}"


@pytest.mark.parametrize("cell", SEPARATED, ids=str)
def test_intervals_cover_at_any_distance(cell: Cell, record: Record) -> None:
    found = of_cell(cell, record)
    good = Share(found.statuses["GOOD"], found.statuses.total())
    lines = [
        Row(WHAT, str(cell), "90 % each", beside(found), holds(found)),
        Row("posterior of separated components: verdict GOOD", str(cell), f"at least {CLAIM:.0%}", str(good), ok(good)),
    ]
    record(code(cell), lines, settings(cell, {DEFAULT: found}), {DEFAULT: numbers(found)})
    assert holds(found, ("sds",))
    assert ok(good)


def ok(share: Share) -> bool:
    return share.interval[1] >= CLAIM


def test_intervals_cover_sds_of_different_orders(record: Record) -> None:
    found = of_cell(UNEQUAL, record)
    each = found.hits[POSTERIOR][:, found.kinds == "sds"].mean(0)
    single = " / ".join(f"{100 * share:.0f}" for share in each)
    record(
        code(UNEQUAL),
        [Row(WHAT, str(UNEQUAL), "90 % each", f"{beside(found)}; single sds {single}", holds(found))],
        settings(UNEQUAL, {DEFAULT: found}),
        {DEFAULT: numbers(found)},
    )
    assert holds(found, ("sds",))
    n_data_sets = len(found.hits[POSTERIOR])
    assert (each + 3 * np.sqrt(LEVEL * (1 - LEVEL) / n_data_sets) >= LEAST_EACH).all()


def test_intervals_cover_a_small_component(record: Record) -> None:
    found = of_cell(SMALL, record)
    line = Row(WHAT, str(SMALL), "90 % each", beside(found), holds(found))
    record(code(SMALL), [line], settings(SMALL, {DEFAULT: found}), {DEFAULT: numbers(found)})
    assert holds(found, ("sds", "means"))


def test_strong_correlations_are_the_price_of_lkj(record: Record) -> None:
    """No prior of the scales makes up for it: under flat ones the correlations are covered no better."""
    usual = {DEFAULT: DATA_SETS, UNIFORM: DATA_SETS, FLAT: OF_REFERENCES}
    found = {prior: of_cell(CORRELATED, record, prior, number) for prior, number in usual.items()}
    names = {DEFAULT: "LKJ(1)", UNIFORM: UNIFORM, FLAT: "LKJ(1), flat log scales"}
    lines = [
        Row(WHAT, f"{CORRELATED}, {names[prior]}", "90 % each", beside(one), holds(one)) for prior, one in found.items()
    ]
    record(
        code(CORRELATED),
        lines,
        settings(CORRELATED, found),
        {prior: numbers(one) for prior, one in found.items()},
    )
    correlations = {prior: kinds(one)["correlations"] for prior, one in found.items()}
    (lkj, error), (flat, other_error) = correlations[DEFAULT], correlations[FLAT]
    assert lkj > flat - 3 * np.hypot(error, other_error)
    assert correlations[UNIFORM][0] > lkj + 3 * np.hypot(error, correlations[UNIFORM][1])


@pytest.mark.parametrize("cell", ALONE, ids=str)
def test_correlations_of_one_gaussian_are_near_those_of_the_sample(cell: Cell, record: Record) -> None:
    usual = {DEFAULT: DATA_SETS, UNIFORM: OF_REFERENCES, FLAT: OF_REFERENCES}
    found = {prior: of_cell(cell, record, prior, number) for prior, number in usual.items()}
    shifts = {prior: by_kind(one.from_mle, one.kinds)["correlations"] for prior, one in found.items()}
    (mean, error), farthest = shifts[DEFAULT], SHIFTS[cell.n_points]
    near = mean >= farthest - 3 * error
    said = [f"{mean:.2f}±{error:.2f}" for mean, error in shifts.values()]
    from_truth = by_kind(found[DEFAULT].from_truth, found[DEFAULT].kinds)["correlations"]
    values = f"{said[0]}; {UNIFORM} {said[1]}; LKJ(1), flat log scales {said[2]}; from the truth {from_truth[0]:.2f}"
    what = "posterior means of correlations less the sample's, in posterior sds"
    lines = [
        Row(what, str(cell), f"at most {-farthest:g} below", values, near),
        Row(WHAT, str(cell), "90 % each", beside(found[DEFAULT]), holds(found[DEFAULT])),
    ]
    record(code(cell), lines, settings(cell, found), {prior: numbers(one) for prior, one in found.items()})
    assert near


# Negative controls


@pytest.mark.parametrize("cell", [*(cell for cell in SEPARATED if cell.n_features == 1), UNEQUAL], ids=str)
def test_scales_that_follow_all_data_are_noticed(cell: Cell, record: Record) -> None:
    """The default of version 0.1, whose verdicts were GOOD at any distance."""
    found = of_cell(cell, record, FORMER, OF_REFERENCES)
    sds = found.hits[POSTERIOR][:, found.kinds == "sds"]
    noticed = not holds(found, ("sds",))
    setting = f"{cell}; {found.statuses['GOOD']} of {found.statuses.total()} GOOD"
    far = cell in (*FAR, UNEQUAL)
    what = "prior of the scales from the variance of all data: sds"
    line = Row("control: " * far + what, setting, "not 90 %" if far else "", "", noticed)
    line = line._replace(found=percent({"sds": mean_and_error(sds)}), shown=far)
    record(f"{code(cell)}_control", [line], settings(cell, {FORMER: found}), {FORMER: numbers(found)})
    if far:
        assert noticed
