"""Random starts are grown from spread-out points of positive weight; known ones are taken as given."""

import jax
import numpy as np
import pytest

from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search import initialisation
from bayes_gmm.search.initialisation import random_starts, start_from


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


CENTERS = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]])


def three_clusters(n_points=90):
    """Clusters of sd 1, a hundred apart."""
    labels = np.arange(n_points) % 3
    return CENTERS[labels] + np.random.default_rng(0).normal(size=(n_points, 2)), labels


def share_with_one_center_each(centers):
    """Of R sets of centres (R, 3, 2), the share that has one in each cluster."""
    nearest = np.linalg.norm(centers[:, :, None] - CENTERS[None, None], axis=-1).argmin(-1)
    return (np.sort(nearest, axis=1) == np.arange(3)).all(1).mean()


def plus_plus(x, weights, n_components, n_starts):
    nothing = {"anchored": np.zeros(n_components, bool), "centers": np.zeros((n_components, x.shape[1]))}
    return initialisation._plus_plus(np.random.default_rng(1), x, weights, evenly=np.zeros(n_starts, bool), **nothing)


def grow(x, n_components, n_starts, weights=None, seed=0, **options):
    """Random starts, in data units."""
    problem = Problem.of(x, n_components, sample_weight=weights, **options)
    return jax.device_get(problem.scaling.to_data(random_starts(seed, problem, n_starts, problem.objective())))


def begin(start, x, n_components, weights=None):
    problem = Problem.of(x, n_components, sample_weight=weights)
    return jax.device_get(problem.scaling.to_data(start_from(start, problem, problem.objective())))


@pytest.mark.parametrize("n_starts", [1, 7])
@pytest.mark.parametrize(("n_components", "n_features"), [(1, 1), (3, 2)])
def test_starts_are_finite_mixtures_of_the_shape_asked_for(n_starts, n_components, n_features):
    mixture = grow(np.random.default_rng(2).normal(size=(50, n_features)), n_components, n_starts)
    assert isinstance(mixture, Mixture)
    assert mixture.log_weights.shape == (n_starts, n_components)
    assert mixture.means.shape == (n_starts, n_components, n_features)
    assert mixture.scale_tril.shape == (n_starts, n_components, n_features, n_features)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(mixture))
    np.testing.assert_allclose(mixture.weights.sum(-1), 1, rtol=1e-12)


def test_centers_are_distinct_points_of_the_data():
    x, _ = three_clusters()
    for centers in plus_plus(x, np.ones(90), 5, 20):
        assert (centers[:, None] == x[None]).all(-1).any(1).all(), "a centre is no point of the data"
        assert len(np.unique(centers, axis=0)) == 5


def test_centers_fall_into_different_clusters():
    """Squared distances within a cluster are about 2 D = 4, between clusters 1e4.

    The second centre falls into the first's cluster with probability 4 / 2e4, the third into one of two with
    8 / 1e4: a start in 1000 fails. More than five failures in 200 have probability 1e-7 (Poisson, mean 0.2).
    Points chosen without regard to distance have one in each with probability 3! / 3^3 = 2 / 9.
    """
    x, _ = three_clusters()
    assert share_with_one_center_each(plus_plus(x, np.ones(90), 3, 200)) >= 195 / 200
    nothing = {"anchored": np.zeros(3, bool), "centers": np.zeros((3, 2))}
    evenly = initialisation._plus_plus(np.random.default_rng(1), x, np.ones(90), evenly=np.ones(200, bool), **nothing)
    assert share_with_one_center_each(evenly) < 0.5


def test_known_centers_stay_and_the_others_keep_away_from_them():
    x, _ = three_clusters()
    known, centers = np.array([False, True, False]), np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 0.0]])
    sets = initialisation._plus_plus(
        np.random.default_rng(1), x, np.ones(90), evenly=np.zeros(200, bool), anchored=known, centers=centers
    )
    assert (sets[:, 1] == centers[1]).all()
    assert share_with_one_center_each(sets) >= 195 / 200


def test_centers_of_points_that_are_all_centers_are_repeated():
    x = np.array([[0.0, 1.0], [2.0, 3.0]])
    centers = plus_plus(x, np.ones(2), 4, 3)
    assert (centers[:, :, None] == x[None, None]).all(-1).any(2).all()


def test_starts_are_the_clusters_where_these_are_plain():
    x, labels = three_clusters()
    mixture = grow(x, 3, 1)
    order = np.linalg.norm(CENTERS[:, None] - np.asarray(mixture.means[0])[None], axis=-1).argmin(1)
    np.testing.assert_allclose(np.exp(mixture.log_weights[0]), 1 / 3, rtol=1e-12)
    for k in range(3):
        np.testing.assert_allclose(mixture.means[0, order[k]], x[labels == k].mean(0), rtol=1e-10, atol=1e-10)
    # Shrunk with D + 2 = 4 pseudo-counts towards the covariance within all clusters.
    scatters = [30 * np.cov(x[labels == k].T, ddof=0) for k in range(3)]
    for k in range(3):
        expected = (scatters[k] + 4 * sum(scatters) / 90) / 34
        np.testing.assert_allclose(mixture.covariances[0, order[k]], expected, rtol=1e-8)


def test_starts_are_of_three_kinds_by_turns():
    x, _ = three_clusters()
    mixture = grow(x, 3, 8)
    within, whole = np.linalg.det(np.cov((x - CENTERS[np.arange(90) % 3]).T)), np.linalg.det(np.cov(x.T, ddof=0))
    sizes = np.linalg.det(mixture.covariances)
    assert (sizes[[0, 4]] < 4 * within).all(), "clusters are as wide as clusters"
    # Three components of volume V / 3 fill the volume V of the data.
    np.testing.assert_allclose(np.sqrt(sizes[[1, 5]]), np.sqrt(whole) / 3, rtol=1e-6)
    widths = np.sqrt(sizes[[3, 7]] / whole) * 3
    assert ((widths > 0.01) & (widths <= 1)).all()
    assert len(np.unique(widths.round(6))) == 6
    np.testing.assert_allclose(mixture.weights[[1, 3, 5, 7]], 1 / 3, rtol=1e-12)


@pytest.mark.parametrize("n_points", [90, 12_000], ids=["all rows", "a subset of the rows"])
def test_rows_of_weight_zero_are_never_chosen(n_points):
    """The rows of the third cluster have no weight; that they are there must not be seen."""
    x, labels = three_clusters(n_points)
    mixture = grow(x, 3, 50, (labels < 2).astype(float))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(mixture))
    # The second coordinate is 100 in the third cluster, and within 6 of 0 in the others.
    assert np.abs(mixture.means[..., 1]).max() < 6
    assert np.abs(grow(x, 3, 50).means[..., 1]).max() > 90


def test_heavy_rows_carry_the_weight_that_they_have():
    x, labels = three_clusters()
    mixture = grow(x, 3, 1, np.array([1.0, 2.0, 7.0])[labels])
    np.testing.assert_allclose(np.sort(np.exp(mixture.log_weights[0])), [0.1, 0.2, 0.7], rtol=1e-12)


def test_starts_are_decided_by_the_seed():
    x, _ = three_clusters()
    first, again, other = (grow(x, 4, 5, seed=seed).means for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(np.asarray(first).round(9), axis=0)) > 1, "all starts are the same"


def test_held_and_labelled_components_start_where_they_are_known_to_be():
    x, truth = three_clusters()
    held = grow(x, 3, 20, fixed={"means": {2: [100.0, 0.0]}})
    np.testing.assert_allclose(held.means[:, 2], np.tile([100.0, 0.0], (20, 1)), atol=1e-10)
    labels = np.where(truth == 1, 0, -1)
    anchored = grow(x, 3, 20, labels=labels).means[::2, 0]
    np.testing.assert_allclose(anchored, np.tile(x[truth == 1].mean(0), (10, 1)), atol=1e-8)


def test_labels_give_the_moments_of_their_groups():
    x, labels = three_clusters()
    weights = np.random.default_rng(4).random(90)
    mixture = begin(labels, x, 3, weights)
    assert mixture.means.shape == (1, 3, 2)
    for k in range(3):
        inside = labels == k
        np.testing.assert_allclose(np.exp(mixture.log_weights[0, k]), weights[inside].sum() / weights.sum(), rtol=1e-12)
        mean = np.average(x[inside], axis=0, weights=weights[inside])
        np.testing.assert_allclose(mixture.means[0, k], mean, rtol=1e-12, atol=1e-11)
        # Second moments minus squared means of up to 1e4, the variance being 1: 1e4 eps = 2e-12.
        expected = np.cov(x[inside].T, aweights=weights[inside], ddof=0)
        np.testing.assert_allclose(mixture.covariances[0, k], expected, atol=1e-10)


def test_responsibilities_give_the_moments_of_the_shared_points():
    x, shares = three_clusters()[0], np.random.default_rng(5).dirichlet(np.ones(2), 90)
    mixture = begin(shares, x, 2)
    for k in range(2):
        np.testing.assert_allclose(mixture.means[0, k], np.average(x, axis=0, weights=shares[:, k]), rtol=1e-12)
        expected = np.cov(x.T, aweights=shares[:, k], ddof=0)
        np.testing.assert_allclose(mixture.covariances[0, k], expected, rtol=1e-10)
