"""Co-clustering probabilities equal the formula and an enumeration, and do not depend on labels."""

import itertools

import numpy as np
import pytest

from bayes_gmm.clustering.co_clustering import co_clustering, order_by_similarity
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


@pytest.fixture(scope="module")
def draws() -> Mixture:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet([3.0, 3.0, 3.0], (2, 7))
    means = rng.normal(0, 2, (2, 7, 3, 2))
    return Mixture.from_moments(weights, means, np.eye(2) * rng.uniform(0.5, 2, (2, 7, 3, 1, 1)))


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 2, (40, 2))


def scaling_of(x: np.ndarray) -> Scaling:
    return Scaling.whitening(x, np.ones(len(x)))


def test_it_is_the_mean_over_the_draws_of_shared_responsibilities(draws: Mixture, points: np.ndarray) -> None:
    shares = draws.responsibilities(points).reshape(14, 40, 3)
    expected = np.einsum("snk,smk->nm", shares, shares) / 14
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(co_clustering(draws, points, scaling_of(points)), expected, atol=1e-12)


def test_it_is_what_enumeration_of_all_assignments_says(draws: Mixture, points: np.ndarray) -> None:
    x = points[:4]
    together = np.zeros((4, 4))
    for one in draws.log_joint(x).reshape(14, 4, 3):
        assignments = list(itertools.product(range(3), repeat=4))
        logs = np.array([sum(one[n, k] for n, k in enumerate(labels)) for labels in assignments])
        shares = np.exp(logs - np.logaddexp.reduce(logs))
        for labels, share in zip(np.array(assignments), shares, strict=True):
            together += share * (labels[:, None] == labels) / 14
    np.testing.assert_allclose(co_clustering(draws, x, scaling_of(points)), together, atol=1e-12)


def test_no_relabelling_changes_it(draws: Mixture, points: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    shuffled = draws.permute(rng.permuted(np.broadcast_to(np.arange(3), (2, 7, 3)), axis=-1))
    assert not np.allclose(shuffled.means, draws.means)
    scaling = scaling_of(points)
    np.testing.assert_allclose(
        co_clustering(shuffled, points, scaling), co_clustering(draws, points, scaling), atol=1e-12
    )


def test_order_makes_neighbours_of_points_that_belong_together() -> None:
    labels = np.random.default_rng(3).integers(0, 3, 50)
    ordered = labels[order_by_similarity((labels[:, None] == labels).astype(float))]
    assert (np.diff(ordered) != 0).sum() == 2


@pytest.mark.parametrize("n_points", [1, 2])
def test_one_or_two_points_stay_in_order(n_points: int) -> None:
    np.testing.assert_array_equal(order_by_similarity(np.eye(n_points)), np.arange(n_points))


def test_a_matrix_that_would_fill_the_memory_is_refused(draws: Mixture) -> None:
    x = np.random.default_rng(4).normal(size=(5001, 2))
    with pytest.raises(ArgumentError, match="5001 x 5001"):
        co_clustering(draws, x, scaling_of(x))
