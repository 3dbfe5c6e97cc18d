"""Shifts between two fits: against the complete rows, where these are a fair sample and where they are not."""

import numpy as np
import pytest
from scipy import stats

import bayes_gmm as bg

FAITHFUL = bg.datasets.load("faithful").values


def with_gaps_at(rows):
    x = FAITHFUL.copy()
    x[rows, 1] = np.nan
    return x


@pytest.fixture(scope="module")
def of_long_eruptions():
    """Waiting was not seen after long eruptions: missing at random, and the complete rows are the short ones."""
    return bg.fit_em(with_gaps_at(FAITHFUL[:, 0] > 3.5), 1)


def test_shift_of_a_mean_is_that_of_the_regression_estimator(of_long_eruptions):
    """For one Gaussian the answer has a closed form (Little and Rubin, section 7.2)."""
    seen = FAITHFUL[:, 0] <= 3.5
    line = stats.linregress(*FAITHFUL[seen].T)
    by_name = {row.name: row for row in bg.parameter_shifts(of_long_eruptions).rows}
    row = by_name["mean[0, x2]"]
    assert row.value == pytest.approx(line.intercept + line.slope * FAITHFUL[:, 0].mean(), rel=1e-6)
    assert row.reference == pytest.approx(FAITHFUL[seen, 1].mean(), rel=1e-6)
    assert row.sd == pytest.approx(of_long_eruptions.standard_errors["means"][0, 1])
    assert row.shift == (row.value - row.reference) / row.sd
    assert set(by_name) == {
        "weight[0]",
        "mean[0, x1]",
        "mean[0, x2]",
        "sd[0, x1]",
        "sd[0, x2]",
        "correlation[0, x1~x2]",
    }
    assert np.isnan(by_name["weight[0]"].shift)  # a single weight does not vary


def test_complete_rows_that_are_no_fair_sample_mislead_and_a_fair_one_does_not(of_long_eruptions):
    biased = bg.parameter_shifts(of_long_eruptions).largest(1)[0]
    assert abs(biased.shift) > 5
    fair = bg.parameter_shifts(bg.fit_em(with_gaps_at(np.arange(272) % 5 == 0), 1)).largest(1)[0]
    assert abs(fair.shift) < 2


@pytest.mark.slow
def test_components_are_matched_and_records_are_written(tmp_path):
    x = with_gaps_at(np.arange(272) % 5 == 0)
    fit = bg.fit_em(x, 2, n_starts=4)
    plain = bg.fit_em(x, 2, n_starts=4, missing="drop")
    turned = bg.fit_em(x, 2, missing="drop", start=plain.mixture.permute([1, 0]), fixed={"weights": [0.64, 0.36]})
    for other in (plain, turned):
        assert all(abs(row.shift) < 2 for row in bg.parameter_shifts(fit, other).rows)
    shifts = bg.parameter_shifts(fit)
    assert "fit to 272 rows with their gaps against that to 217 rows" in str(shifts)
    assert "6 other parameters by at most" in str(shifts)
    shifts.to_csv(tmp_path / "shifts.csv")
    assert len((tmp_path / "shifts.csv").read_text().splitlines()) == 1 + len(shifts.rows)
    assert shifts._repr_html_().count("<tr>") == 7


def test_a_fit_without_complete_rows_has_no_reference():
    never = FAITHFUL.copy()
    never[np.arange(272) % 2 == 0, 0] = np.nan
    never[np.arange(272) % 2 == 1, 1] = np.nan
    with pytest.raises(bg.DataError, match="Every row has a missing cell"):
        bg.parameter_shifts(bg.fit_em(never, 1, covariance_type="diag"))
