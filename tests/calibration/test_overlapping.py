"""Where components overlap the posterior is sampled to the end and right, and covers what the fit does not.

Whether a component can be named is a fact about the data, not about the draws, so that the second judgement has no
right share; the density can always be quoted.
"""

import numpy as np
import pytest
from intervals import LEVEL, PARAMETERS, Cell
from overlapping import CELLS, COMPARED, DATA_SETS, DENSITY, LONG, MOST_SECONDS, Overlapping, overlapping
from posterior_intervals import as_expected
from proportions import Share, mean_and_error
from recording import Record, Row

pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

CLAIM = 0.95
"""Share of the runs whose sampling should be GOOD."""
SHOWN = [cell for cell in CELLS if cell.n_points == 200]


def of_kind(hits: np.ndarray, kinds: np.ndarray) -> dict[str, tuple[float, float]]:
    """Coverage of each kind of quantity, with its error."""
    of = {kind: hits[:, kinds == kind] for kind in (*PARAMETERS, DENSITY) if kind in kinds}
    return {kind: mean_and_error(values) for kind, values in of.items() if len(values) > 1}


def percent(values: dict[str, tuple[float, float]]) -> str:
    return " / ".join(f"{100 * mean:.0f}±{100 * error:.0f}" for mean, error in values.values()) or "none"


def of_fit(found: Overlapping) -> dict[str, tuple[float, float]]:
    return of_kind(found.of_fit, found.kinds[found.kinds != DENSITY])


def seconds(values: np.ndarray) -> str:
    """Median and the longest but one in twenty."""
    middle, long = np.quantile(values, [0.5, 0.95])
    return f"{middle:.1f} and {long:.1f} s"


def reaches(coverage: tuple[float, float]) -> bool:
    """Whether intervals are not told apart from those that hold the truth often enough; a prior may help them."""
    return coverage[0] >= LEVEL or as_expected(coverage, LEVEL)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_overlapping_components_are_sampled_to_the_end(cell: Cell, record: Record) -> None:
    n_data_sets = record.number(DATA_SETS)
    found = overlapping(cell, n_data_sets, min(COMPARED, n_data_sets))
    good, right = Share(found.sampling["GOOD"], n_data_sets), Share.of(found.right)
    wrong_called_good = sum(good and not right for good, right in zip(found.called_good, found.right, strict=True))
    covered = of_kind(found.hits, found.kinds)
    named = f"components of {found.components['GOOD']} can be named"
    compared = f"{right.count} of {right.total} equal to a long run of NUTS that mixed"
    lines = [
        Row(
            "components that overlap: verdict of sampling GOOD",
            f"{cell}; {named}; {compared}; {seconds(found.processor_seconds)} of the processor (median, 95 %)",
            f"at least {CLAIM:.0%}",
            str(good),
            good.interval[1] >= CLAIM and not wrong_called_good,
        ),
        Row(
            f"{LEVEL:.0%} intervals of the posterior hold true weights / means / sds / log density",
            str(cell),
            "at least 90 % of the density",
            f"{percent(covered)}; MLE {percent(of_fit(found))}, {found.without} fits without",
            reaches(covered[DENSITY]),
            cell in SHOWN,
        ),
    ]
    name = str(cell).replace("=", "").replace(", ", "_").replace(" ", "_")
    record(f"overlapping_{name}", lines, settings(n_data_sets) | {"cell": cell._asdict()}, numbers(found))
    assert good.interval[1] >= CLAIM
    assert not wrong_called_good


def settings(n_data_sets: int) -> dict[str, object]:
    long = {"data sets": COMPARED, **LONG}
    return {"level": LEVEL, "data sets": n_data_sets, "max_seconds": MOST_SECONDS, "long runs": long}


def numbers(found: Overlapping) -> dict[str, object]:
    return {
        "n": len(found.hits),
        "without": found.without,
        "coverage": {"posterior": of_kind(found.hits, found.kinds), "MLE": of_fit(found)},
        "sampling": found.sampling,
        "components": found.components,
        "seconds": found.seconds,
        "processor seconds": found.processor_seconds,
        "equal to a long run": found.right,
        "called GOOD": found.called_good,
    }
