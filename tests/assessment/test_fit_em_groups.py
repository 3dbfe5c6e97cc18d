"""Each group gets the fit that it would have alone, whatever the others are."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayes_gmm as bg
from bayes_gmm.cli import main
from bayes_gmm.figure_data.group_panels import group_curves

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
        ("site", "by is 'site'", bg.ArgumentError),
        (list(range(11)), r"by has shape \(11,\)", bg.ArgumentError),
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


def test_groups_are_a_column_of_a_data_frame_or_set_aside_from_a_file(table, fits, tmp_path):
    x, by = table
    frame = pd.DataFrame({"site": by, "size": x[:, 0]})
    frame.to_csv(tmp_path / "sites.csv", index=False)
    for given in (frame, bg.read_table(tmp_path / "sites.csv", "size", labels="site")):
        found = bg.fit_em_groups(given, "site", range(1, 3), progress=False)
        assert found.table.columns == ("size",)
        for group, fit in fits.fits.items():
            np.testing.assert_allclose(found[group].log_likelihood, fit.log_likelihood, rtol=1e-12)


def test_group_of_one_row_and_groups_without_enough_rows_leave_the_others_alone(table, fits):
    """As many groups as rows leave no fit at all, and no error."""
    x, by = table
    found = bg.fit_em_groups(np.r_[x, [[0.0]]], np.r_[by, ["lone"]], range(1, 3), progress=False)
    assert list(found.failures) == ["lone"]
    np.testing.assert_array_equal(found["north"].mixture.means, fits["north"].mixture.means)
    assert len(bg.fit_em_groups(x[:5], range(5), progress=False).failures) == 5


def test_figure_shows_each_group_on_common_axes(table, fits):
    """Their curves are the density of the fit, which integrates to one."""
    axes = bg.plot_groups(fits)
    assert [ax.get_title(loc="left") for ax in axes.flat[:3]] == [f"{g}, {n} points" for g, n in fits.n_points.items()]
    assert len({ax.get_xlim() for ax in axes.flat[:3]}) == 1
    for name, panel in zip(fits.rows, axes.flat, strict=False):
        x, densities = group_curves(fits, name, 0, np.array([-30.0, 30.0]))
        np.testing.assert_allclose(np.trapezoid(densities.sum(0), x), 1, atol=0.01)
        expected = np.exp(fits[name].mixture.log_prob(x[:, None]))
        np.testing.assert_allclose(densities.sum(0), expected, atol=1e-12)
        assert len(panel.lines) == (len(densities) + 1 if len(densities) > 1 else 1)
    plt.close(axes.flat[0].figure)
    (panel,) = bg.plot_groups(fits, names=["south"]).flat
    assert panel.get_title(loc="left") == "south, 60 points"
    plt.close(panel.figure)
    with pytest.raises(bg.ArgumentError, match="names holds 'west', which is no group"):
        bg.plot_groups(fits, names=["west"])


def test_command_prints_and_writes_the_groups(table, tmp_path, capsys):
    x, by = table
    pd.DataFrame({"site": by, "size": x[:, 0]}).to_csv(tmp_path / "sites.csv", index=False)
    command = ["groups", str(tmp_path / "sites.csv"), "--by", "site", "-k", "1-2", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert all(group in said for group in SIZES)
    assert len((tmp_path / "out" / "groups.csv").read_text().splitlines()) == 1 + 5
    assert (tmp_path / "out" / "groups.png").stat().st_size > 1000
    assert main([*command, "--labels", "size"]) == 2
