"""Each group gets the fit that it would have alone, whatever the others are."""

import numpy as np
import pytest

import bayes_gmm as bg

SIZES = {"north": 150, "south": 60, "east": 300}


@pytest.fixture(scope="module")
def table():
    """Rows of three groups, mixed: two clusters, but one in the south."""
    rng = np.random.default_rng(5)
    by = rng.permutation(np.repeat(list(SIZES), list(SIZES.values())))
    apart = np.where(by == "south", 0.0, 6.0) * (rng.random(len(by)) < 0.4)
    return (rng.normal(size=len(by)) + apart)[:, None], by


@pytest.fixture(scope="module")
def fits(table):
    return bg.fit_em_groups(*table, range(1, 3), progress=False)


def test_fits_are_those_of_each_group_alone(table, fits):
    """Padding changes sums by rounding only. Control: the rows of another group."""
    x, by = table
    for group, fit in fits.fits.items():
        alone = bg.fit_em(x[by == group], fit.mixture.n_components)
        np.testing.assert_allclose(fit.log_likelihood, alone.log_likelihood, rtol=1e-9)
        np.testing.assert_allclose(fit.mixture.means, alone.mixture.means, rtol=1e-4)
    other = bg.fit_em(x[by == "north"], fits["east"].mixture.n_components)
    assert abs(other.log_likelihood - fits["east"].log_likelihood) > 1


def test_number_of_components_is_chosen_for_each_group(fits):
    assert {group: fit.mixture.n_components for group, fit in fits.fits.items()} == {"north": 2, "south": 1, "east": 2}
    assert fits.n_points == SIZES


def test_records_and_table_name_the_groups(fits, tmp_path):
    records = fits.records()
    assert [record["group"] for record in records] == [g for g, fit in fits.fits.items() for _ in fit.mixture.weights]
    fits.to_csv(tmp_path / "groups.csv")
    assert len((tmp_path / "groups.csv").read_text().splitlines()) == 1 + len(records)
    assert all(group in str(fits) and group in fits._repr_html_() for group in SIZES)


def test_group_that_cannot_be_fitted_is_kept_with_the_reason():
    x = np.r_[np.random.default_rng(0).normal(size=40), 1.0, 2.0][:, None]
    found = bg.fit_em_groups(x, np.r_[np.zeros(40, int), 1, 2], 2, progress=False)
    assert list(found.fits) == [0]
    assert list(found.failures) == [1, 2]
    assert "2 without a fit" in str(found)
    assert found.records()[-1]["failure"] == found.failures[2]


@pytest.mark.parametrize(
    ("by", "message", "error"),
    [
        (["a"] * 9, r"by has shape \(9,\)", bg.ArgumentError),
        ([None, *["a"] * 9], "Row 0 has no group", bg.DataError),
        (np.r_[np.nan, np.ones(9)], "Row 0 has no group", bg.DataError),
    ],
)
def test_bad_groups_are_refused(by, message, error):
    with pytest.raises(error, match=message):
        bg.fit_em_groups(np.arange(10.0)[:, None], by, progress=False)


def test_options_that_have_a_value_for_each_row_are_refused():
    with pytest.raises(bg.ArgumentError, match="fit_em_groups cannot take sample_weight"):
        bg.fit_em_groups(np.arange(10.0)[:, None], [0] * 10, sample_weight=np.ones(10), progress=False)
