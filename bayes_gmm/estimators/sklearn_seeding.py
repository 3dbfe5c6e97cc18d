"""Random numbers as scikit-learn draws them: the same `random_state` gives the same start, and the same sample.

References
----------
Greedy k-means++: Arthur and Vassilvitskii (2007), SODA, 1027-1035; k-means: Lloyd (1982), doi 10.1109/TIT.1982.1056489.
"""

from collections.abc import Callable

import numpy as np

from bayes_gmm.mixture.mixture import Mixture

_MOST_STEPS = 300
_TOLERANCE = 1e-4
"""Squared movement of all centres at which k-means stops, relative to the mean variance of the columns."""

type Seeding = Callable[[np.ndarray, int, np.ndarray, np.random.RandomState], np.ndarray]
"""From points (N, D), K, weights (N,) and a generator to responsibilities (N, K)."""


def by_k_means(x: np.ndarray, n_components: int, weights: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Labels of one run of k-means."""
    centred = x - x.mean(0)
    chosen = _plus_plus(centred, n_components, weights, rng)
    return np.eye(n_components)[_lloyd(centred, centred[chosen], weights)]


def by_chance(x: np.ndarray, n_components: int, weights: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Uniform random numbers, each row divided by its sum."""
    shares = rng.uniform(size=(len(x), n_components))
    return shares / shares.sum(1, keepdims=True)


def by_points(x: np.ndarray, n_components: int, weights: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """One point for each component, drawn at random; all other points have no share."""
    return _single_points(rng.choice(len(x), size=n_components, replace=False), len(x))


def by_plus_plus(x: np.ndarray, n_components: int, weights: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """One point for each component, far from each other by k-means++; all other points have no share."""
    return _single_points(_plus_plus(x, n_components, weights, rng), len(x))


SEEDINGS: dict[str, Seeding] = {
    "kmeans": by_k_means,
    "k-means++": by_plus_plus,
    "random": by_chance,
    "random_from_data": by_points,
}


def sample_by_component(
    mixture: Mixture, n_samples: int, rng: np.random.RandomState, separately: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, D) of one component after the other, and their components; `separately` feature by feature."""
    weights = mixture.weights
    counts = rng.multinomial(n_samples, weights / weights.sum())
    drawn = []
    for mean, covariance, count in zip(mixture.means, mixture.covariances, counts, strict=True):
        if separately:
            drawn.append(mean + rng.standard_normal((count, len(mean))) * np.sqrt(np.diag(covariance)))
        else:
            drawn.append(rng.multivariate_normal(mean, covariance, count))
    return np.vstack(drawn), np.repeat(np.arange(len(counts)), counts)


def _single_points(chosen: np.ndarray, n_points: int) -> np.ndarray:
    shares = np.zeros((n_points, len(chosen)))
    shares[chosen, np.arange(len(chosen))] = 1.0
    return shares


def _plus_plus(x: np.ndarray, n_centers: int, weights: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Indices (K,) of centres: for each the best of a few candidates drawn by their squared distance to the others."""
    squares = (x**2).sum(1)
    n_trials = 2 + int(np.log(n_centers))
    chosen = [int(rng.choice(len(x), p=weights / weights.sum()))]
    nearest = _squared_distances(x[chosen], x, squares)[0]
    for _ in range(1, n_centers):
        drawn = rng.uniform(size=n_trials) * (nearest @ weights)
        candidates = np.minimum(np.searchsorted(np.cumsum(weights * nearest), drawn), len(x) - 1)
        distances = np.minimum(nearest, _squared_distances(x[candidates], x, squares))
        best = int(np.argmin(distances @ weights))
        nearest = distances[best]
        chosen.append(int(candidates[best]))
    return np.array(chosen)


def _squared_distances(centers: np.ndarray, x: np.ndarray, squares: np.ndarray) -> np.ndarray:
    distances = (centers**2).sum(1)[:, None] - 2 * centers @ x.T + squares
    return np.maximum(distances, 0.0)


def _lloyd(x: np.ndarray, centers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Labels (N,) at the end of k-means."""
    tolerance, labels = _TOLERANCE * x.var(0).mean(), np.full(len(x), -1)
    for _ in range(_MOST_STEPS):
        before, labels = labels, _nearest(x, centers)
        if np.array_equal(labels, before):
            return labels
        moved = _averages(x, labels, centers, weights)
        shift, centers = ((moved - centers) ** 2).sum(), moved
        if shift <= tolerance:
            break
    return _nearest(x, centers)


def _nearest(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    # The square of the point itself is the same for all centres.
    return ((centers**2).sum(1) - 2 * x @ centers.T).argmin(1)


def _averages(x: np.ndarray, labels: np.ndarray, centers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean of each cluster (K, D); one without points takes the point that is farthest from its centre."""
    n_centers = len(centers)
    counts = np.bincount(labels, weights, n_centers)
    sums = np.stack([np.bincount(labels, weights * column, n_centers) for column in x.T], 1)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        distances = ((x - centers[labels]) ** 2).sum(1)
        if distances.max() > 0:
            farthest = np.argpartition(distances, -len(empty))[: -len(empty) - 1 : -1]
            np.subtract.at(sums, labels[farthest], weights[farthest, None] * x[farthest])
            np.subtract.at(counts, labels[farthest], weights[farthest])
            sums[empty], counts[empty] = weights[farthest, None] * x[farthest], weights[farthest]
    means = sums / np.where(counts > 0, counts, 1.0)[:, None]
    return np.where(counts[:, None] > 0, means, means[counts.argmax()])
