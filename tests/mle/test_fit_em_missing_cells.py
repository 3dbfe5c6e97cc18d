"""Maximum likelihood where cells were not seen: reference numbers, closed forms, and what must not change anything."""

import jax
import numpy as np
import pandas
import pytest
from scipy.stats import multivariate_normal

import bayes_gmm as bg
from bayes_gmm.mixture.covariance_structures import find_structure
from bayes_gmm.mixture.gaps import fit_one_gaussian, seen_moments

FAITHFUL = bg.datasets.load("faithful").values
N = np.arange(272)
LONG = FAITHFUL[:, 0] > 3


def with_gaps():
    """Waiting missing in every fifth row, eruptions in every seventh of the others."""
    x = FAITHFUL.copy()
    x[N % 5 == 0, 1] = np.nan
    x[(N % 7 == 3) & (N % 5 != 0), 0] = np.nan
    return x


@pytest.fixture(scope="module")
def fit():
    return bg.fit_em(with_gaps(), 2)


def test_answer_is_that_of_the_reference(fit):
    """An independent EM in NumPy, run until 1e-13, as are the numbers of the complete table."""
    assert fit.log_likelihood == pytest.approx(-946.5671817, abs=1e-6)
    mixture = fit.mixture
    np.testing.assert_allclose(mixture.weights[0], 0.349798, atol=2e-5)
    np.testing.assert_allclose(mixture.means, [[2.029992, 54.616925], [4.267595, 80.117732]], atol=2e-5)
    found = mixture.covariances[:, [0, 0, 1], [0, 1, 1]]
    expected = [[0.063077, 0.342792, 30.892974], [0.192701, 1.457286, 40.843307]]
    np.testing.assert_allclose(found, expected, atol=5e-5)
    dropped = bg.fit_em(with_gaps(), 2, missing="drop", n_starts=4)
    assert dropped.table.n_points == 186
    assert np.abs(dropped.mixture.means - mixture.means).max() > 0.1


def test_output_says_what_was_missing(fit):
    expected = "missing cells (x2 55, x1 31) in 86 of 272 rows, taken as missing at random and integrated out"
    assert expected in repr(fit)
    assert expected in repr(fit.table)
    assert "missing" not in repr(bg.Table(FAITHFUL, ("eruptions", "waiting")))


def observed(theta, x):
    """Log-likelihood of the seen cells by SciPy, at log odds, means and covariances of two components."""
    weights = np.array([theta[0], 1 - theta[0]])
    joint = np.zeros((len(x), 2))
    for k, part in enumerate(np.split(theta[1:], 2)):
        mean, covariance = part[:2], np.array([[part[2], part[3]], [part[3], part[4]]])
        for o in ([0], [1], [0, 1]):
            rows = (~np.isnan(x) == np.isin([0, 1], o)).all(1)
            there = multivariate_normal(mean[o], covariance[np.ix_(o, o)])
            joint[rows, k] = np.log(weights[k]) + there.logpdf(x[np.ix_(rows, o)])
    return np.logaddexp(*joint.T).sum()


def test_standard_errors_are_those_of_the_seen_cells(fit):
    mixture = fit.mixture
    parts = [[*m, c[0, 0], c[0, 1], c[1, 1]] for m, c in zip(mixture.means, mixture.covariances, strict=True)]
    theta = np.concatenate([mixture.weights[:1], *parts])
    x, steps = with_gaps(), 1e-3 * np.abs(theta)
    moves = np.diag(steps)
    hessian = np.array(
        [
            [
                (
                    observed(theta + a + b, x)
                    - observed(theta + a - b, x)
                    - observed(theta - a + b, x)
                    + observed(theta - a - b, x)
                )
                / (4 * steps[i] * steps[j])
                for j, b in enumerate(moves)
            ]
            for i, a in enumerate(moves)
        ]
    )
    errors = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    ours = fit.standard_errors
    found = np.concatenate(
        [
            ours["weights"][:1],
            *([*m, c[0, 0], c[0, 1], c[1, 1]] for m, c in zip(ours["means"], ours["covariances"], strict=True)),
        ]
    )
    np.testing.assert_allclose(found, errors, rtol=2e-3)
    complete = bg.fit_em(FAITHFUL, 2, start=mixture).standard_errors["means"]
    assert (ours["means"] > 1.03 * complete).any()  # gaps cost precision


def test_units_of_the_columns_change_nothing(fit):
    scales, shifts = np.array([60.0, 1 / 60]), np.array([-3.0, 1000.0])
    other = bg.fit_em(with_gaps() * scales + shifts, 2, seed=0)
    cells = (~np.isnan(with_gaps())).sum(0)
    assert other.log_likelihood == pytest.approx(fit.log_likelihood - cells @ np.log(scales), abs=1e-8)
    np.testing.assert_allclose((other.mixture.means - shifts) / scales, fit.mixture.means, rtol=1e-6)


def test_rows_without_any_cell_change_nothing(fit):
    more = np.concatenate([with_gaps(), np.full((40, 2), np.nan)])
    other = bg.fit_em(more, 2)
    assert other.log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-9)
    assert other.bic() == pytest.approx(fit.bic(), abs=1e-8)
    np.testing.assert_allclose(other.mixture.means, fit.mixture.means, rtol=1e-7)


def test_known_labels_fit_each_class_by_itself():
    x = with_gaps()
    fit = bg.fit_em(x, 2, labels=LONG.astype(int), tol=1e-12)
    for k, own in enumerate([~LONG, LONG]):
        mean, covariance = fit_one_gaussian(x[own], np.ones(own.sum()))
        np.testing.assert_allclose(fit.mixture.means[k], mean, rtol=1e-6)
        np.testing.assert_allclose(fit.mixture.covariances[k], covariance, rtol=1e-4)
    np.testing.assert_allclose(fit.mixture.weights[1], LONG.mean(), rtol=1e-10)
    assert np.abs(mean - np.nanmean(x[LONG], 0)).max() > 1e-3  # not the means of the columns


def test_columns_of_a_diagonal_gaussian_are_fitted_by_themselves():
    x = with_gaps()
    fit = bg.fit_em(x, 1, covariance_type="diag", tol=1e-12)
    expected = seen_moments(x, np.ones(272))
    np.testing.assert_allclose(fit.mixture.means[0], expected.mean, rtol=1e-7)
    np.testing.assert_allclose(fit.mixture.covariances[0], expected.covariance, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("code", ["EII", "VEV", "EVE"])
def test_other_mixtures_of_the_structure_are_less_likely(code):
    x, rng = with_gaps(), np.random.default_rng(5)
    fit = bg.fit_em(x, 2, covariance_type=code, n_starts=2, tol=1e-12)
    mixture = fit.mixture
    assert mixture.log_prob(x).sum() == pytest.approx(fit.log_likelihood, abs=1e-7)
    gains = []
    for _ in range(20):
        means = mixture.means + 0.01 * mixture.scales * rng.normal(size=(2, 2))
        factors = mixture.scale_tril @ (np.eye(2) + 0.01 * rng.normal(size=(2, 2, 2)))
        with jax.enable_x64(True):
            near = find_structure(code, 2).estimate(
                mixture.weights, mixture.weights[:, None, None] * factors @ factors.mT
            )
        gains.append(bg.Mixture.from_moments(mixture.weights, means, near).log_prob(x).sum() - fit.log_likelihood)
    assert -1 < min(gains) < max(gains) < 0
    assert fit.log_likelihood < -947  # below that of free covariances


def test_gaps_of_all_kinds_of_tables_are_the_same():
    x, gaps = with_gaps(), np.isnan(with_gaps())
    frame = pandas.DataFrame(x, columns=["a", "b"]).convert_dtypes()
    for table in (x, np.ma.masked_array(np.where(gaps, -999.0, x), gaps), frame, x.tolist()):
        values = bg.as_table(table, missing="integrate").values
        np.testing.assert_array_equal(values, x)
    with pytest.raises(bg.errors.DataError, match="holds nan in row 0"):
        bg.as_table(bg.as_table(x, missing="integrate"))
    dropped = bg.as_table(bg.as_table(x, missing="integrate"), missing="drop")
    np.testing.assert_array_equal(dropped.values, x[~gaps.any(1)])
    assert "left out: 86 of 272 rows" in dropped.left_out[0]


def test_questions_to_the_fit_take_gaps(fit, tmp_path):
    x = with_gaps()
    assert fit.responsibilities().shape == (272, 2)
    assert fit.icl() > fit.bic()
    assert not fit.degeneracies
    mean, sd = fit.completed()
    np.testing.assert_array_equal(mean[~np.isnan(x)], x[~np.isnan(x)])
    inside = np.abs(mean - FAITHFUL)[np.isnan(x)] < 2 * sd[np.isnan(x)]
    assert 0.85 < inside.mean() <= 1.0
    fit.save(tmp_path / "fit.nc")
    again = bg.load(tmp_path / "fit.nc")
    assert again.log_likelihood == fit.log_likelihood
    np.testing.assert_array_equal(again.table.values, x)


def test_gradient_ascent_and_resampled_rows_agree(fit):
    assert bg.fit_gradient(with_gaps(), 2, start=fit.mixture).log_likelihood == pytest.approx(
        fit.log_likelihood, abs=1e-6
    )
    ratio = bg.bootstrap(fit, n_replicates=200).standard_errors["means"] / fit.standard_errors["means"]
    # The relative error of a standard error from 200 replicates is 5 %.
    assert ((ratio > 0.75) & (ratio < 1.35)).all()
