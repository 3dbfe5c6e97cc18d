"""The table over numbers of components and structures has the right best fit and shows failed fits as such."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import bayes_gmm as bg


@pytest.fixture(scope="module")
def selection(faithful: bg.Table) -> bg.Selection:
    return bg.select_em(faithful, range(1, 5), covariance_type=("full", "tied"), progress=False)


def test_best_is_mclusts(selection: bg.Selection) -> None:
    # mclust 6.0.0 chooses EEE with three components for Old Faithful, BIC 2314.3.
    assert (selection.best.mixture.n_components, selection.best.structure.name) == (3, "EEE")
    assert selection.best.bic() == pytest.approx(2314.3, abs=0.1)
    assert selection.best.bic() == min(fit.bic() for fit in selection.fits.values())


def test_text_marks_the_best_and_holds_every_fit(selection: bg.Selection) -> None:
    text = str(selection)
    assert text.count("*") == 2  # the legend and the best
    assert f"{selection.best.bic():.2f}*" in text
    assert len(re.findall(r"\d{4}\.\d\d", text)) == 8


def test_records_are_the_fits(selection: bg.Selection) -> None:
    record = selection.records()[0]
    assert record["n_components"] == 1
    assert record["n_parameters"] == 5
    assert record["bic"] == selection.fits[1, "full"].bic()


def test_collapsed_fits_are_shown_and_never_best() -> None:
    three_points = np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], 20, axis=0)
    selection = bg.select_em(three_points, (1, 3), progress=False)
    assert "collapsed" in str(selection)
    assert selection.best.mixture.n_components == 1
    assert np.isnan(selection.records()[1]["bic"])
    with pytest.raises(bg.FitError, match="All 1 fits collapsed"):
        _ = bg.select_em(three_points, (3,), progress=False).best


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"criterion": "waic"}, "criterion is 'waic'"),
        ({"n_components": ()}, "is empty"),
        ({"covariance_type": ()}, "is empty"),
    ],
)
def test_bad_requests_are_refused(options: dict[str, object], found: str, faithful: bg.Table) -> None:
    with pytest.raises(bg.ArgumentError, match=found):
        bg.select_em(faithful, **({"n_components": (2,)} | options), progress=False)


@pytest.mark.parametrize("name", ["VII", "EEI", "EEE", "VEE", "VVE", "EEV", "VVV"])
def test_fits_side_by_side_are_those_of_each_number_by_itself(name: str) -> None:
    """The oracle is `fit_em`; from eight components on, climbs are among the starts."""
    iris = bg.datasets.load("iris")
    selection = bg.select_em(iris, (1, 2, 4, 9), covariance_type=name, n_starts=6, progress=False)
    for (count, _), fit in selection.fits.items():
        alone = bg.fit_em(iris, count, covariance_type=name, n_starts=6)
        assert fit.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-6)
        assert len(fit.start_log_likelihoods) == len(alone.start_log_likelihoods) == 6
        np.testing.assert_allclose(fit.mixture.means, alone.mixture.means, atol=1e-3)
        assert fit.mixture.n_components == count
        assert fit.kernel_error < 1e-8


@pytest.mark.parametrize(
    "options",
    [{"fixed": {"weights": "equal"}}, {"assignment": "hard"}, {"prior": bg.ConjugatePrior()}, {"n_starts": 40}],
    ids=["equal weights", "hard", "prior", "two generations"],
)
def test_options_mean_what_they_mean_for_one_number_of_components(options: dict[str, object]) -> None:
    x = bg.datasets.load("faithful")
    selection = bg.select_em(x, (1, 2, 3), **options, progress=False)
    for count in (1, 2, 3):
        alone = bg.fit_em(x, count, **({"n_starts": 32} | options))
        assert selection.fits[count, "full"].log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-6)


def test_labels_known_of_some_points_hold_side_by_side() -> None:
    x = bg.datasets.load("faithful")
    labels = np.where(np.arange(272) < 10, (x.values[:, 0] > 3).astype(int), -1)
    selection = bg.select_em(x, (2, 3), labels=labels, progress=False)
    for count in (2, 3):
        alone = bg.fit_em(x, count, labels=labels, n_starts=32)
        assert selection.fits[count, "full"].log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-6)


def test_a_prior_of_variances_takes_spikes_away() -> None:
    """Fits with absent components have the values of fits without, and no warning."""
    x = bg.datasets.load("galaxies")
    selection = bg.select_em(x, (1, 3), prior=bg.ConjugatePrior(), progress=False)
    for (K, _), fit in selection.fits.items():
        alone = bg.fit_em(x, K, prior=bg.ConjugatePrior(), progress=False)
        np.testing.assert_allclose(fit.log_likelihood, alone.log_likelihood, atol=1e-4)
        np.testing.assert_allclose(fit.path[-1], alone.path[-1], atol=1e-6)


def test_a_selection_shows_itself_in_a_notebook_and_as_a_file(tmp_path) -> None:
    selection = bg.select_em(
        bg.datasets.load("galaxies"), range(1, 4), covariance_type=("full", "tied"), progress=False
    )
    html = selection._repr_html_()
    assert len(html.encode()) < 3000
    best = selection.best
    assert f"<td>{best.bic():.2f}*" in html
    selection.to_csv(tmp_path / "criteria.csv")
    assert len((tmp_path / "criteria.csv").read_text().splitlines()) == 7


def test_cells_are_not_worse_than_mclust_from_the_true_classes() -> None:
    """All fourteen structures with three components, by the default starts, against EM of mclust from the species."""
    known = json.loads((Path(__file__).parents[1] / "references" / "mclust_structures.json").read_text())["iris"]
    selection = bg.select_em(bg.datasets.load("iris"), (3,), covariance_type=tuple(known), progress=False)
    found = {name: fit.bic() for (_, name), fit in selection.fits.items()}
    worse = {name: bic for name, bic in found.items() if bic > -known[name]["BIC"] + 0.01}
    assert not worse
    assert len(found) == 14
