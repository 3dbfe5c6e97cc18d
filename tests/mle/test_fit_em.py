"""The maximum-likelihood fit against scikit-learn, mclust, closed forms and its own symmetries."""

import inspect
import json
import re
import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import bayes_gmm as bg
from bayes_gmm import datasets
from bayes_gmm.errors import ArgumentError, DataError, FitError, FitWarning
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.fit_em import fit_em
from bayes_gmm.mle.status import EMStatus

# mclust 6.0.0 in R 4.2.2, model VVV from hard labels: the log-likelihood of the M-step on the labels and
# of the next four steps, then where it ends; faithful split at eruptions > 3, iris by its species.
MCLUST = {
    "faithful": {
        "first": [-1130.2831827928, -1130.2649233155, -1130.2640143711, -1130.2639633035, -1130.2639603652],
        "log_likelihood": -1130.2639601847,
        "bic": 2322.1917430987,  # with the sign turned: mclust's is higher for better
        "weights": [0.35587285894, 0.64412714106],
        "means": [[2.0363884591, 54.4785164218], [4.289661977, 79.9681152216]],
        "covariances": [
            [[0.069167676098, 0.43516766137], [0.43516766137, 33.6972823241]],
            [[0.16996843074, 0.94060925558], [0.94060925558, 36.0462106005]],
        ],
    },
    "iris": {
        "first": [-182.9208486053, -182.2217383887, -181.7283094963, -181.1609107499, -180.5858928205],
        "log_likelihood": -180.1854771313,
        "bic": 580.8389072028,
        "weights": [0.33333333333, 0.29919320158, 0.36747346509],
        "means": [
            [5.006, 3.428, 1.462, 0.246],
            [5.9149695991, 2.7778436477, 4.2015532487, 1.2969668615],
            [6.5445486642, 2.9486611556, 5.4795534641, 1.9846049715],
        ],
    },
}

# Observed information at mclust's optimum of faithful, by JAX's Hessian in float64 in the coordinates
# (weight of the first, means, entries of the covariances) themselves; made by another program than ours.
FAITHFUL_ERRORS = {
    "weights": [0.029089110231498936, 0.029089110231498936],
    "means": [[0.027108352045895935, 0.5918737758166791], [0.031403114051085285, 0.4561857200782823]],
    "covariances": [
        [[0.010574962522762308, 0.16600166696209548], [0.16600166696209548, 4.854722242302505]],
        [[0.01887187376118608, 0.21041776520610617], [0.21041776520610617, 3.9251435806846033]],
    ],
}


def known_labels(name):
    table = datasets.load(name)
    return (
        (table.values[:, 0] > 3).astype(int) if name == "faithful" else np.unique(table.labels, return_inverse=True)[1]
    )


def rough_start(x, n_components):
    """Mixture at a few rows with the covariance of all: many steps away from anywhere."""
    rows = np.random.default_rng(0).choice(len(x), n_components, replace=False)
    covariances = np.tile(np.cov(x.T, ddof=0), (n_components, 1, 1))
    return Mixture.from_moments(np.full(n_components, 1 / n_components), x[rows], covariances)


def assert_same_mixture(ours, expected, **tolerance):
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(getattr(ours, name), getattr(expected, name), err_msg=name, **tolerance)


def repeated_rows():
    """Sixty normal points, and the point (1/2, 1/2) thirty times."""
    return np.vstack([np.random.default_rng(0).normal(size=(60, 2)), np.full((30, 2), 0.5)])


# Against other programs


def steps_of_scikit_learn(x, start, n_steps):
    peer = GaussianMixture(
        start.n_components,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        tol=0,
        reg_covar=0,
        max_iter=n_steps,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(x)
    assert peer.n_iter_ == n_steps
    mixture = Mixture.from_moments(peer.weights_, peer.means_, peer.covariances_)
    return mixture.permute(np.argsort(mixture.means[:, 0])), peer


@pytest.mark.parametrize(("name", "n_components"), [("faithful", 2), ("iris", 3)])
@pytest.mark.parametrize("n_steps", [1, 5, 20])
def test_steps_are_those_of_scikit_learn(name, n_components, n_steps):
    x = datasets.load(name).values
    start = rough_start(x, n_components)
    with pytest.warns(FitWarning, match="MAX_STEPS"):
        fit = fit_em(x, n_components, start=start, tol=0.0, max_steps=n_steps)
    expected, peer = steps_of_scikit_learn(x, start, n_steps)
    assert fit.n_steps == n_steps
    assert_same_mixture(fit.mixture, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(fit.log_likelihood, peer.score(x) * len(x), rtol=1e-12)
    np.testing.assert_allclose(fit.bic(), peer.bic(x), rtol=1e-12)
    np.testing.assert_allclose(fit.aic(), peer.aic(x), rtol=1e-12)


def test_comparison_with_scikit_learn_notices_one_step_more(faithful):
    start = rough_start(faithful.values, 2)
    with pytest.warns(FitWarning):
        fit = fit_em(faithful, 2, start=start, tol=0.0, max_steps=20)
    one_more = steps_of_scikit_learn(faithful.values, start, 21)[0]
    assert np.abs(fit.mixture.means - one_more.means).max() > 1e-6


@pytest.mark.parametrize("name", MCLUST)
def test_path_from_labels_and_its_end_are_those_of_mclust(name):
    expected = MCLUST[name]
    fit = fit_em(datasets.load(name), len(expected["weights"]), start=known_labels(name))
    assert fit.status is EMStatus.CONVERGED
    np.testing.assert_allclose(fit.path[:5], expected["first"], rtol=0, atol=1e-9)
    # Ours stops 1e-8 nats below the top, hence within sqrt(2e-8) = 1.4e-4 standard errors of its parameters.
    np.testing.assert_allclose(fit.log_likelihood, expected["log_likelihood"], rtol=0, atol=2e-8)
    np.testing.assert_allclose(fit.bic(), expected["bic"], rtol=0, atol=4e-8)
    np.testing.assert_allclose(fit.mixture.weights, expected["weights"], atol=1.4e-4 * 0.05)
    np.testing.assert_allclose(fit.mixture.means, expected["means"], atol=1.4e-4 * 0.6)


def test_faithful_from_random_starts_is_the_known_fit(faithful_mle):
    expected = MCLUST["faithful"]
    assert faithful_mle.status is EMStatus.CONVERGED
    np.testing.assert_allclose(faithful_mle.log_likelihood, expected["log_likelihood"], rtol=0, atol=2e-8)
    for name in ("weights", "means", "covariances"):
        error = np.abs(getattr(faithful_mle.mixture, name) - expected[name]) / FAITHFUL_ERRORS[name]
        assert error.max() < 1.4e-4, f"{name} are {error.max():.1e} standard errors away"


@pytest.mark.parametrize("name", FAITHFUL_ERRORS)
def test_standard_errors_are_those_of_the_observed_information(faithful_mle, name):
    np.testing.assert_allclose(faithful_mle.standard_errors[name], FAITHFUL_ERRORS[name], rtol=1e-4)


# One component: everything has a closed form


@pytest.mark.parametrize("name", ["faithful", "galaxies"])
def test_one_component_is_the_mean_and_covariance(name):
    x = datasets.load(name).values
    fit = fit_em(x, 1)
    covariance = np.atleast_2d(np.cov(x.T, ddof=0))
    np.testing.assert_allclose(fit.mixture.weights, [1], rtol=1e-12)
    np.testing.assert_allclose(fit.mixture.means[0], x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(fit.mixture.covariances[0], covariance, rtol=1e-12)
    # At the maximum the quadratic form sums to N D.
    log_determinant = np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    np.testing.assert_allclose(fit.log_likelihood, -len(x) / 2 * log_determinant, rtol=1e-12)


@pytest.mark.parametrize("name", ["faithful", "galaxies"])
def test_standard_errors_of_one_component_are_the_textbook_ones(name):
    x = datasets.load(name).values
    n_points = len(x)
    covariance = np.atleast_2d(np.cov(x.T, ddof=0))
    variances, deviations = np.diag(covariance), np.sqrt(np.diag(covariance))
    correlations = covariance / np.outer(deviations, deviations)
    errors = fit_em(x, 1).standard_errors
    assert errors["weights"] == 0
    np.testing.assert_allclose(errors["means"][0], deviations / np.sqrt(n_points), rtol=1e-9)
    np.testing.assert_allclose(errors["scales"][0], deviations / np.sqrt(2 * n_points), rtol=1e-9)
    # Wishart: var(s_ij) = (s_ii s_jj + s_ij^2) / N, for a variance sqrt(2 / N) sigma^2.
    of_covariances = np.sqrt((np.outer(variances, variances) + covariance**2) / n_points)
    np.testing.assert_allclose(errors["covariances"][0], of_covariances, rtol=1e-9)
    of_correlations = (1 - correlations**2) / np.sqrt(n_points)
    np.testing.assert_allclose(errors["correlations"][0], of_correlations, rtol=1e-9, atol=1e-12)


# What every fit must satisfy


@pytest.mark.parametrize(("name", "n_components"), [("faithful", 2), ("iris", 3), ("galaxies", 4)])
@pytest.mark.parametrize("seed", [0, 1])
def test_path_rises_to_the_log_likelihood_of_the_returned_mixture(name, n_components, seed):
    x = datasets.load(name).values
    fit = fit_em(x, n_components, seed=seed)
    assert fit.path.shape == (fit.n_steps + 1,)
    assert fit.path[-1] - fit.path[0] > 0.1
    # A log-likelihood is a sum of up to 272 logarithms: its rounding is below 272 eps |l| = 7e-11.
    falls = np.minimum(np.diff(fit.path), 0)
    assert falls.min() > -1e-10, f"the path falls by {-falls.min():.1e} at step {falls.argmin()}"
    np.testing.assert_allclose(fit.path[-1], fit.log_likelihood, rtol=0, atol=1e-9)
    np.testing.assert_allclose(fit.log_likelihood, fit.mixture.log_prob(x).sum(), rtol=1e-14)
    assert fit.kernel_error < 1e-9
    np.testing.assert_allclose(fit.responsibilities().sum(1), 1, rtol=1e-14)
    assert (np.diff(fit.mixture.means[:, 0]) > 0).all()


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param([[60.0, 0.0], [-3.0, 1 / 1440]], id="lower triangular"),
        pytest.param([[0.3, -2.0], [5.0, 0.1]], id="general"),
    ],
)
def test_fit_of_an_affine_image_is_the_image_of_the_fit(faithful, faithful_mle, matrix):
    matrix, shift, labels = np.array(matrix), 1e4, known_labels("faithful")
    x = faithful.values @ matrix.T + shift
    original, image = fit_em(faithful, 2, start=labels), fit_em(x, 2, start=labels)
    assert image.n_steps == original.n_steps
    # The order of the components is that of the first mean, which the map may turn round.
    order = np.argsort(original.mixture.means @ matrix[0])
    fit = original.mixture.permute(order)
    means, covariances = fit.means @ matrix.T + shift, matrix @ fit.covariances @ matrix.T
    sizes = np.sqrt(np.einsum("kii->ki", covariances))
    close = {"rtol": 0, "atol": 1e-7}
    np.testing.assert_allclose(image.mixture.weights, fit.weights, **close)
    np.testing.assert_allclose(image.mixture.means / sizes, means / sizes, **close, err_msg="means")
    products = sizes[:, :, None] * sizes[:, None, :]
    np.testing.assert_allclose(image.mixture.covariances / products, covariances / products, **close)
    np.testing.assert_allclose(image.responsibilities(), original.responsibilities()[:, order], **close)
    gain = -272 * np.log(np.abs(np.linalg.det(matrix)))
    np.testing.assert_allclose(image.path, original.path + gain, rtol=0, atol=1e-7)
    # The random starts are mapped along with the data: each of them ends where it did. (Starts that split what these
    # have found do so in a random direction, which a rotation of the whitened data does not turn.)
    random, ended = fit_em(x, 2, n_starts=32), faithful_mle.start_statuses == EMStatus.CONVERGED
    np.testing.assert_array_equal(random.start_statuses, faithful_mle.start_statuses)
    expected = faithful_mle.start_log_likelihoods[ended] + gain
    np.testing.assert_allclose(random.start_log_likelihoods[ended], expected, rtol=0, atol=1e-6)


def test_no_more_starts_than_the_first_where_three_quarters_of_these_agree(faithful, faithful_mle):
    assert len(faithful_mle.start_statuses) == 32
    at_best = faithful_mle.start_log_likelihoods > faithful_mle.log_likelihood - 1e-3
    assert at_best.mean() >= 0.75
    asked_for = fit_em(faithful, 2, n_starts=128)
    assert len(asked_for.start_statuses) == 128
    np.testing.assert_array_equal(asked_for.start_log_likelihoods[:32], faithful_mle.start_log_likelihoods)
    np.testing.assert_allclose(asked_for.log_likelihood, faithful_mle.log_likelihood, rtol=0, atol=1e-7)
    # Where they do not agree all are made, and here they find a better maximum.
    first, usual = fit_em(faithful, 3, n_starts=32), fit_em(faithful, 3)
    assert (first.start_log_likelihoods > first.log_likelihood - 1e-3).mean() < 0.75
    assert len(usual.start_statuses) == 128
    assert usual.log_likelihood > first.log_likelihood + 1


def test_same_seed_gives_the_same_fit_bit_for_bit(faithful, faithful_mle):
    again, other = fit_em(faithful, 2), fit_em(faithful, 2, seed=1)
    for ours, first in zip(jax.tree.leaves(again.mixture), jax.tree.leaves(faithful_mle.mixture), strict=True):
        np.testing.assert_array_equal(ours, first)
    np.testing.assert_array_equal(again.path, faithful_mle.path)
    np.testing.assert_array_equal(again.start_log_likelihoods, faithful_mle.start_log_likelihoods)
    assert not np.array_equal(other.start_log_likelihoods, faithful_mle.start_log_likelihoods)


def test_labels_responsibilities_and_mixtures_can_start_a_fit(faithful, faithful_mle):
    labels = known_labels("faithful")
    soft = 0.1 + 0.8 * np.eye(2)[labels]
    of_labels = fit_em(faithful, 2, start=labels)
    np.testing.assert_array_equal(fit_em(faithful, 2, start=np.eye(2)[labels]).path, of_labels.path)
    for fit in (of_labels, fit_em(faithful, 2, start=soft), fit_em(faithful, 2, start=faithful_mle.mixture)):
        assert len(fit.start_log_likelihoods) == 1
        np.testing.assert_allclose(fit.log_likelihood, faithful_mle.log_likelihood, rtol=0, atol=2e-8)
    at_the_top = fit_em(faithful, 2, start=faithful_mle.mixture)
    np.testing.assert_allclose(at_the_top.path[0], faithful_mle.log_likelihood, rtol=1e-13)
    assert at_the_top.n_steps < of_labels.n_steps


def test_integer_weights_are_repeated_rows(faithful):
    x, start = faithful.values, rough_start(faithful.values, 2)
    weights = np.random.default_rng(1).integers(0, 4, len(x))
    weighted = fit_em(x, 2, start=start, sample_weight=weights)
    repeated = fit_em(np.repeat(x, weights, axis=0), 2, start=start)
    np.testing.assert_allclose(weighted.path, repeated.path, rtol=1e-12)
    assert weighted.kernel_error < 1e-9
    np.testing.assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(weighted.bic(), repeated.bic(), rtol=1e-12)
    np.testing.assert_allclose(weighted.icl(), repeated.icl(), rtol=1e-12)
    assert_same_mixture(weighted.mixture, repeated.mixture, rtol=1e-10)
    for name in ("weights", "means", "covariances", "scales"):
        np.testing.assert_allclose(weighted.standard_errors[name], repeated.standard_errors[name], rtol=1e-10)
    assert abs(weighted.log_likelihood - fit_em(x, 2, start=start).log_likelihood) > 1


def test_equal_weights_of_any_size_give_the_same_mixture(faithful):
    labels = known_labels("faithful")
    single = fit_em(faithful, 2, start=labels)
    tripled = fit_em(faithful, 2, start=labels, sample_weight=np.full(272, 3.0), tol=3e-8)
    assert_same_mixture(tripled.mixture, single.mixture, rtol=1e-10)
    np.testing.assert_allclose(tripled.log_likelihood, 3 * single.log_likelihood, rtol=1e-12)
    thirds = single.standard_errors["means"] / np.sqrt(3)
    np.testing.assert_allclose(tripled.standard_errors["means"], thirds, rtol=1e-9)


@pytest.mark.parametrize("tol", [1e-4, 1e-6])
def test_tol_is_what_the_log_likelihood_has_left_to_gain(faithful, tol):
    start = rough_start(faithful.values, 3)
    fit, end = (fit_em(faithful, 3, start=start, tol=tolerance) for tolerance in (tol, 1e-11))
    remaining = end.log_likelihood - fit.log_likelihood
    # Aitken's estimate takes the rate of the last two gains for that of all to come: right to a few tenths.
    assert 0 < remaining < 1.5 * tol
    # EM is slow here: stopped at a gain below tol, it would have had several times tol to go.
    first_small = np.argmax(np.diff(fit.path) < tol)
    assert end.log_likelihood - fit.path[first_small + 1] > 4 * tol


def test_start_beside_a_saddle_does_not_end_there(faithful):
    """Two wide components nearly on top of one another: the first step gains 383 nats, the second 0.0009."""
    mean, spread = faithful.values.mean(0), faithful.values.std(0)
    wide = np.tile(10 * np.cov(faithful.values.T), (2, 1, 1))
    start = Mixture.from_moments([0.5, 0.5], [mean - 0.1 * spread, mean + 0.1 * spread], wide)
    fit = fit_em(faithful, 2, start=start)
    gains = np.diff(fit.path)
    assert gains[0] > 100
    assert gains[1] < 1e-3
    np.testing.assert_allclose(fit.log_likelihood, MCLUST["faithful"]["log_likelihood"], rtol=0, atol=2e-8)


def test_best_of_all_usable_starts_is_returned(faithful):
    with pytest.warns(FitWarning, match="MAX_STEPS"):
        fit = fit_em(faithful, 3, n_starts=7, max_steps=20)
    assert fit.start_log_likelihoods.shape == fit.start_statuses.shape == (7,)
    assert len(np.unique(fit.start_log_likelihoods.round(3))) > 1
    np.testing.assert_allclose(fit.log_likelihood, fit.start_log_likelihoods.max(), rtol=1e-12)


@pytest.mark.slow
def test_random_starts_find_the_clusters_that_made_the_data():
    """Six clusters ten sds apart: no optimum is higher than that of the true labels."""
    labels = np.arange(288) % 6
    centers = 10 * np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
    x = centers[labels] + np.random.default_rng(2).normal(size=(288, 2))
    fit, truth = fit_em(x, 6, max_steps=100), fit_em(x, 6, start=labels)
    np.testing.assert_allclose(fit.log_likelihood, truth.log_likelihood, rtol=0, atol=2e-8)
    assert fit.start_log_likelihoods.min() < truth.log_likelihood - 10  # it is not enough to start anywhere
    assert (fit.mixture.predict(x)[labels == 0] == fit.mixture.predict(x[:1])).all()


# Ends that are no maximum


def test_collapsed_starts_are_reported_and_the_others_still_count():
    x = repeated_rows()
    fit = fit_em(x, 2, n_starts=16, seed=3)
    collapsed = fit.start_statuses == EMStatus.COLLAPSED
    converged = fit.start_statuses == EMStatus.CONVERGED
    assert collapsed.any()
    assert converged.any()
    assert (collapsed | converged).all()
    assert fit.status is EMStatus.CONVERGED
    assert fit.check() is fit
    np.testing.assert_allclose(fit.log_likelihood, fit.start_log_likelihoods[converged].max(), rtol=1e-12)
    assert fit.start_log_likelihoods[collapsed].max() > fit.log_likelihood  # unbounded, and not taken
    n_collapsed, n_best = (
        collapsed.sum(),
        np.isclose(fit.start_log_likelihoods, fit.log_likelihood, atol=1e-4).sum(),
    )
    assert f"{n_best} of 16 starts reached it; {n_collapsed} collapsed or failed" in repr(fit)


def test_fit_of_which_all_starts_collapse_says_so():
    x = repeated_rows()
    x[60:] += 20
    with pytest.warns(FitWarning, match="COLLAPSED"):
        fit = fit_em(x, 2, start=np.repeat([0, 1], [58, 32]))
    assert fit.status is EMStatus.COLLAPSED
    assert (fit.start_statuses == EMStatus.COLLAPSED).all()
    with pytest.raises(FitError, match="repeated rows") as caught:
        fit.check()
    assert "from all 1 starts" in caught.value.found
    assert caught.value.remedy == EMStatus.COLLAPSED.advice


def test_more_components_than_distinct_rows_cannot_be_used():
    x = np.repeat([[0.0], [1.0], [3.0]], 5, axis=0)
    with pytest.warns(FitWarning):
        fit = fit_em(x, 4)
    with pytest.raises(FitError):
        fit.check()


def test_narrow_component_above_the_floor_is_fitted():
    """One sd in a thousand: real structure, ten times wider than what counts as collapsed."""
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.normal(0, 1, (150, 2)), rng.normal([3, 0], 1e-3, (150, 2))])
    fit = fit_em(x, 2, start=np.repeat([0, 1], 150))
    assert fit.status is EMStatus.CONVERGED
    narrow = x[150:]
    np.testing.assert_allclose(fit.mixture.means[1], narrow.mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(fit.mixture.scales[1], narrow.std(0), rtol=1e-3)
    # The kernel's price, eps (|x| / sd)^2 with a constant near 300 (test_kernel), for each of 150 points.
    assert fit.kernel_error < 150 * 300 * np.finfo(float).eps * 1e6


def test_steps_that_run_out_are_warned_of_and_may_be_used(faithful):
    with pytest.warns(FitWarning, match="MAX_STEPS.*raise max_steps"):
        fit = fit_em(faithful, 2, max_steps=1)
    assert fit.status is EMStatus.MAX_STEPS
    assert fit.n_steps == 1
    assert fit.check() is fit


def test_saddle_has_no_standard_errors(faithful):
    """Equal responsibilities make the components identical, which EM can never undo."""
    saddle = fit_em(faithful, 2, start=np.full((272, 2), 0.5))
    np.testing.assert_allclose(saddle.mixture.means[0], saddle.mixture.means[1], rtol=1e-12)
    with pytest.raises(FitError, match="does not determine all parameters"):
        _ = saddle.standard_errors
    assert saddle.record()["standard_errors"] == {}


# Criteria and records


def test_criteria_are_their_formulas(faithful_mle):
    log_likelihood, responsibilities = faithful_mle.log_likelihood, faithful_mle.responsibilities()
    assert faithful_mle.n_parameters == 11
    np.testing.assert_allclose(faithful_mle.aic(), -2 * log_likelihood + 2 * 11, rtol=1e-14)
    np.testing.assert_allclose(faithful_mle.bic(), -2 * log_likelihood + 11 * np.log(272), rtol=1e-14)
    doubt = -sum(np.log(max(row)) for row in responsibilities)
    np.testing.assert_allclose(faithful_mle.icl(), faithful_mle.bic() + 2 * doubt, rtol=1e-14)
    # mclust 6.0.0, sign turned, 1.1e-4 nats below the maximum, so sqrt(2.2e-4) = 0.015 standard errors away from it;
    # the form with the entropy of the labels in place of the labels would be 0.9 higher.
    np.testing.assert_allclose(faithful_mle.icl(), 2322.6974673272, atol=0.015)


def test_record_survives_json(faithful_mle):
    record = json.loads(json.dumps(faithful_mle.record(), allow_nan=False))
    assert record["columns"] == ["eruptions", "waiting"]
    assert record["status"] == "CONVERGED"
    assert record["means"] == faithful_mle.mixture.means.tolist()
    assert record["standard_errors"]["means"] == faithful_mle.standard_errors["means"].tolist()
    assert record["start_statuses"].count("CONVERGED") > 16


# Arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *[({"n_components": value}, "n_components is") for value in (0, -1, 2.0, True, "2", None)],
        *[({"n_starts": value}, "n_starts is") for value in (0, -3, 1.5, True)],
        *[({"max_steps": value}, "max_steps is") for value in (0, -1, 10.0)],
        *[({"tol": value}, "tol is") for value in (-1e-9, float("nan"))],
        *[({"seed": value}, "seed is") for value in (-1, 1.5, True, None, 2**32)],
        *[({"covariance_type": value}, "covariance_type is") for value in ("foo", "FULL", "")],
        *[({"sample_weight": value}, "sample_weight") for value in (np.ones(271), np.ones((272, 1)), 1.0)],
        *[({"sample_weight": np.full(272, value)}, "sample_weight") for value in (0.0, -1.0, np.nan, np.inf)],
    ],
    ids=repr,
)
def test_bad_arguments_are_refused_by_name(faithful, arguments, message):
    unchecked = inspect.unwrap(fit_em)  # the types that the tests check by annotation would speak first
    with pytest.raises(ArgumentError, match=message):
        unchecked(faithful, **{"n_components": 2, **arguments})


def one_negative(array):
    changed = np.array(array, dtype=float)
    changed[0] = [1.5, -0.5]
    return changed


BAD_STARTS = {
    "too few labels": np.zeros(271, int),
    "labels from 1": np.repeat([1, 2], 136),
    "labels of three groups": np.arange(272) % 3,
    "label missing": np.zeros(272, int),
    "labels as floats": np.repeat([0.0, 1.0], 136),
    "responsibilities of three": np.full((272, 3), 1 / 3),
    "responsibilities that sum to two": np.ones((272, 2)),
    "negative responsibilities": one_negative(np.full((272, 2), 0.5)),
    "NaN responsibilities": np.full((272, 2), np.nan),
    "component of one point": np.eye(2)[(np.arange(272) < 1).astype(int)],
    "component of no points": np.eye(2)[np.zeros(272, int)],
    "word": "kmeans",
    "mixture of three": Mixture.from_moments(np.full(3, 1 / 3), np.zeros((3, 2)), np.tile(np.eye(2), (3, 1, 1))),
    "mixture of one feature": Mixture.from_moments([0.5, 0.5], np.zeros((2, 1)), np.ones((2, 1, 1))),
    "batch of mixtures": Mixture.from_moments(
        np.full((1, 2), 0.5), np.zeros((1, 2, 2)), np.tile(np.eye(2), (1, 2, 1, 1))
    ),
}


@pytest.mark.parametrize("start", BAD_STARTS.values(), ids=BAD_STARTS)
def test_bad_starts_are_refused(faithful, start):
    with pytest.raises(ArgumentError, match="start"):
        fit_em(faithful, 2, start=start)


def test_more_components_than_rows_are_refused():
    with pytest.raises(DataError, match="3 rows for 4 components"):
        fit_em([[1.0], [2.0], [4.0]], 4)


def test_weights_that_leave_too_few_rows_are_refused(faithful):
    """Two points are on a line: a covariance of two features needs three."""
    with pytest.raises(DataError, match=r"2 rows of 2 columns"):
        fit_em(faithful, 2, sample_weight=np.arange(272) < 2)


def test_weights_that_leave_a_constant_column_are_refused(faithful):
    waits_78 = faithful.values[:, 1] == 78
    with pytest.raises(DataError, match=r"positive sample_weight.*'waiting' is constant"):
        fit_em(faithful, 2, sample_weight=waits_78)


# Compilation and precision


def test_short_tables_compile_nothing_and_second_fits_of_a_shape_neither(faithful, compilations):
    _ = fit_em(faithful, 2).standard_errors
    assert compilations == []
    x = np.tile(faithful.values, (30, 1)) + np.random.default_rng(4).normal(size=(8160, 2))
    _ = fit_em(x, 2, n_starts=3).standard_errors
    assert compilations
    compilations.clear()
    _ = fit_em(x[::-1] * [2.0, 0.5], 2, n_starts=3, seed=7, tol=1e-6, max_steps=1001).standard_errors
    assert compilations == []


def test_fit_leaves_jax_in_float32_and_answers_in_float64(faithful_mle):
    assert not jax.config.jax_enable_x64
    assert jnp.ones(2).dtype == jnp.float32
    arrays = [
        *jax.tree.leaves(faithful_mle.mixture),
        faithful_mle.path,
        *faithful_mle.standard_errors.values(),
    ]
    assert {(type(array), array.dtype) for array in arrays} == {(np.ndarray, np.dtype(np.float64))}


def test_public_names_are_these():
    assert bg.fit_em is fit_em
    assert bg.EMFit is type(fit_em([[0.0], [1.0], [3.0], [7.0]], 1))


def test_components_on_a_few_points_are_doubted_and_no_others(faithful_mle):
    galaxies = datasets.load("galaxies")
    narrow = fit_em(galaxies, 6, n_starts=64)
    sizes = narrow.mixture.weights * len(galaxies)
    assert sizes.min() < 4 < sizes.max()
    doubt = narrow.doubts[0]
    assert re.findall(r"omponent (\d+) holds", doubt) == [str(k) for k in np.flatnonzero(sizes < 4)]
    assert doubt in repr(narrow)
    assert faithful_mle.doubts == ()
    assert not [text for text in fit_em(galaxies, 6, prior=bg.ConjugatePrior()).doubts if "holds" in text]


def test_a_close_second_maximum_is_said_and_no_other(faithful_mle):
    galaxies = datasets.load("galaxies")
    two = fit_em(galaxies, 2)
    ends = np.unique(np.round(two.start_log_likelihoods[two.start_statuses == EMStatus.CONVERGED], 4))
    assert 1e-3 < ends[-1] - ends[-2] < 2
    (doubt,) = two.doubts
    assert f"lower by {ends[-1] - ends[-2]:.2f} nats" in doubt
    optimum = jax.tree.map(lambda leaf: leaf[1], two.optima)
    assert two.problem.log_likelihood(optimum) == pytest.approx(ends[-2], abs=1e-3)
    far = replace(two, start_log_likelihoods=np.append(two.start_log_likelihoods[:1] * 0 + ends[-1], ends[-1] - 3))
    assert replace(far, start_statuses=np.zeros(2, int)).doubts == ()
    assert faithful_mle.doubts == ()


def test_errors_that_a_few_points_decide_are_doubted(faithful_mle):
    """An sd of n points has a relative error of 1 / sqrt(2 n): above 30 % for five points, not for six."""
    rng = np.random.default_rng(5)
    for n_points, doubted in [(5, True), (6, False)]:
        x = np.concatenate([rng.normal(size=(200, 1)), 1000 + rng.normal(size=(n_points, 1))])
        fit = fit_em(x, 2, start=np.arange(len(x)) // 200)
        assert bool(fit.error_doubts) is doubted
        if doubted:
            assert f"{1 / np.sqrt(2 * n_points):.0%} of an sd in component 1" in fit.error_doubts[0]
            assert fit.error_doubts[0] in fit.record()["doubts"]
            with pytest.warns(bg.FitWarning, match="of an sd in component 1.*Trust the posterior"):
                errors = fit.standard_errors
            np.testing.assert_array_equal(errors["scales"], fit.errors()["scales"])
            np.testing.assert_array_equal(fit.doubted_components, [False, True])
    assert faithful_mle.error_doubts == ()


def test_a_fit_without_errors_has_no_doubts_of_them():
    assert fit_em(np.repeat([0.0, 1.0, 5.0, 6.0], 5)[:, None], 2, assignment="hard").error_doubts == ()


def test_own_parameters_are_those_that_another_component_would_add(faithful):
    labels = np.where(np.arange(len(faithful)) < 7, 0, 1)
    doubts = {}
    for covariance_type in ("full", "tied"):
        with pytest.warns(FitWarning, match="MAX_STEPS"):
            fit = fit_em(faithful, 2, covariance_type=covariance_type, start=labels, max_steps=1)
        mixture = Mixture.from_moments([7 / 272, 265 / 272], [[0, 0], [1, 1]], [np.eye(2)] * 2)
        doubts[covariance_type] = replace(fit, mixture=mixture).doubts
    assert len(doubts["full"]) == 1
    assert "7.0 points for 5 parameters" in doubts["full"][0]
    assert doubts["tied"] == ()


# Spurious maxima


@pytest.fixture(scope="module")
def with_a_close_pair():
    """Forty points of one cluster, three of which lie close together."""
    x = np.random.default_rng(1).normal(size=(40, 1))
    x[:3, 0] = 0.5 + np.array([0.0, 0.01, 0.021])
    return x


def test_spurious_maximum_is_doubted_with_its_clean_rival_and_skipped_on_request(with_a_close_pair):
    """Control: where no component is thin, skipping changes nothing."""
    highest, clean = (bg.fit_em(with_a_close_pair, 2, spurious=rule) for rule in ("keep", "skip"))
    assert clean.log_likelihood < highest.log_likelihood
    assert (clean.mixture.weights * 40 >= 4).all()
    (doubt, *_) = highest.doubts
    assert f"{clean.log_likelihood:.2f}" in doubt
    assert f"{highest.log_likelihood:.2f}" in doubt
    assert not any("spurious" in one for one in clean.doubts)


def test_skipping_changes_nothing_without_spurious_maxima(faithful, faithful_mle):
    assert bg.fit_em(faithful, 2, spurious="skip").log_likelihood == faithful_mle.log_likelihood
