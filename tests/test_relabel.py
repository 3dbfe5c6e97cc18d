"""Label switching is undone exactly, and doubtful matches are counted."""

import itertools

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.relabel import relabel

RNG = np.random.default_rng(0)
PIVOT = bg.Mixture.from_moments([0.2, 0.3, 0.5], [[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]], np.stack([np.eye(2)] * 3))
POINTS = PIVOT.sample(300, seed=1)[0]


def jittered(n_draws: int, scale: float) -> bg.Mixture:
    """Draws around the pivot, components in its order."""
    means = PIVOT.means + scale * RNG.standard_normal((1, n_draws, 3, 2))
    weights = RNG.dirichlet(100 * PIVOT.weights, size=(1, n_draws))
    return bg.Mixture.from_moments(weights, means, np.broadcast_to(PIVOT.covariances, (1, n_draws, 3, 2, 2)))


def test_random_permutations_are_undone() -> None:
    draws = jittered(50, 0.1)
    orders = RNG.permuted(np.broadcast_to(np.arange(3), (1, 50, 3)), axis=-1)
    switched = draws.permute(orders)
    found = relabel(switched, PIVOT, POINTS)
    np.testing.assert_array_equal(switched.permute(found.permutations).means, draws.means)
    np.testing.assert_array_equal(switched.permute(found.permutations).log_weights, draws.log_weights)


def test_permutation_is_the_best_of_all() -> None:
    draws = jittered(20, 3.0)  # so far off that the best match is not obvious
    found = relabel(draws, PIVOT, POINTS)
    reference = PIVOT.responsibilities(POINTS)
    for draw, permutation in zip(draws.responsibilities(POINTS)[0], found.permutations[0], strict=True):
        agreement = reference.T @ draw
        scores = {order: agreement[range(3), order].sum() for order in itertools.permutations(range(3))}
        assert scores[tuple(permutation)] == pytest.approx(max(scores.values()), rel=1e-12)


def test_share_is_the_part_of_the_pivots_points_that_is_kept() -> None:
    draws = jittered(5, 0.5)
    found = relabel(draws, PIVOT, POINTS)
    reference = PIVOT.responsibilities(POINTS)
    kept = (reference * draws.permute(found.permutations).responsibilities(POINTS)).sum(-2) / reference.sum(0)
    np.testing.assert_allclose(found.shares, kept, rtol=1e-10)


def test_a_component_that_left_its_points_is_ambiguous() -> None:
    means = np.array(PIVOT.means)
    means[2] = [100.0, 100.0]
    gone = bg.Mixture.from_moments(PIVOT.weights[None, None], means[None, None], PIVOT.covariances[None, None])
    ambiguous = relabel(gone, PIVOT, POINTS).ambiguous
    # The two components that are left take over the points of the largest two of three.
    np.testing.assert_array_equal(np.sort(ambiguous), [0.0, 0.0, 1.0])
    assert relabel(jittered(20, 0.1), PIVOT, POINTS).ambiguous.max() == 0.0


def test_many_points_are_thinned_and_the_answer_stays() -> None:
    points = PIVOT.sample(25_000, seed=2)[0]
    draws = jittered(10, 0.1)
    switched = draws.permute([2, 0, 1])
    found = relabel(switched, PIVOT, points)
    np.testing.assert_array_equal(switched.permute(found.permutations).means, draws.means)
