"""Simulation-based calibration (`sbc`) of Laplace fits, which answer for themselves where Pareto's k is below 0.7.

And only there: in 9 data sets of 10, or 7 where 15 points and the prior say little.
"""

import pytest
from recording import Record
from sbc import DATA_SETS, FEW_POINTS, SETTINGS, laplace_calibration, numbers, rejected, row, settings

pytestmark = [pytest.mark.slow, pytest.mark.numpyro, pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")]

ALL_SETTINGS = SETTINGS | {"15 points": FEW_POINTS}


@pytest.mark.parametrize("name", ALL_SETTINGS)
def test_laplace_fit_is_calibrated_where_it_says_so(name: str, record: Record) -> None:
    n_data_sets = record.number(DATA_SETS)
    ranks = laplace_calibration(ALL_SETTINGS[name], n_data_sets).trusted
    n_trusted = len(ranks["log-likelihood"])
    line = row("Laplace with Pareto k < 0.7: rank of the truth", f"{name}: k < 0.7 in {n_trusted}", ranks)
    file = name.replace("=", "").replace(",", "").replace(" ", "_")
    record(f"sbc_laplace_{file}", [line], settings(n_data_sets, trusted=n_trusted), numbers(ranks))
    assert n_trusted > 80 / 300 * n_data_sets  # fewer would notice little
    assert rejected(ranks) == set()


def test_gaussians_without_their_weights_are_noticed(record: Record) -> None:
    """With many points the Gaussians, over all labellings, are nearly right by themselves; with few they are not."""
    n_data_sets = record.number(DATA_SETS)
    ranks = laplace_calibration(FEW_POINTS, n_data_sets).unweighted
    line = row("control: Laplace without its weights", "15 points", ranks, noticed=1)
    record("sbc_laplace_unweighted", [line], settings(n_data_sets), numbers(ranks))
    assert rejected(ranks)
