"""Starts and samples from the random numbers that scikit-learn draws: a `random_state` gives the same results there.

References
----------
Greedy k-means++: Arthur and Vassilvitskii (2007), SODA, 1027-1035; k-means: Lloyd (1982), doi 10.1109/TIT.1982.1056489.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.mixture.mixture import Mixture

_MOST_STEPS = 300
"""Largest number of steps of k-means: the default `max_iter` of scikit-learn's KMeans."""
_TOLERANCE = 1e-4
"""Squared movement of all centres at which k-means stops, relative to the mean variance of the columns.

It is the default `tol` of scikit-learn's KMeans.
"""

type Points = Float[np.ndarray, "N D"]
type Weights = Float[np.ndarray, " N"]
type Centers = Float[np.ndarray, "K D"]
type Labels = Int[np.ndarray, " N"]
type Responsibilities = Float[np.ndarray, "N K"]
type Seeding = Callable[[Points, int, Weights, np.random.RandomState], Responsibilities]
"""Function that draws responsibilities for K components from points, K, weights of the points and a generator."""


def by_k_means(x: Points, n_components: int, weights: Weights, rng: np.random.RandomState) -> Responsibilities:
    """Responsibilities of zero and one: the labels of one run of k-means."""
    centred = x - x.mean(0)
    chosen = _plus_plus(centred, n_components, weights, rng)
    return np.eye(n_components)[_lloyd(centred, centred[chosen], weights)]


def by_chance(x: Points, n_components: int, weights: Weights, rng: np.random.RandomState) -> Responsibilities:
    """Responsibilities that are uniform random numbers, divided by the sum of each row."""
    shares = rng.uniform(size=(len(x), n_components))
    return shares / shares.sum(1, keepdims=True)


def by_points(x: Points, n_components: int, weights: Weights, rng: np.random.RandomState) -> Responsibilities:
    """Responsibility one for one random point of each component, and zero for all other points."""
    return _single_points(rng.choice(len(x), size=n_components, replace=False), len(x))


def by_plus_plus(x: Points, n_components: int, weights: Weights, rng: np.random.RandomState) -> Responsibilities:
    """Responsibility one for one point of each component, chosen by k-means++, and zero for all other points."""
    return _single_points(_plus_plus(x, n_components, weights, rng), len(x))


SEEDINGS: dict[str, Seeding] = {
    "kmeans": by_k_means,
    "k-means++": by_plus_plus,
    "random": by_chance,
    "random_from_data": by_points,
}


def sample_by_component(
    mixture: Mixture, n_samples: int, rng: np.random.RandomState, *, separately: bool
) -> tuple[Points, Labels]:
    """Points and their components, in the order of the components.

    With `separately` the features are drawn independently of each other, as scikit-learn does for diagonal covariances.
    """
    weights = mixture.weights
    counts = rng.multinomial(n_samples, weights / weights.sum())
    drawn = []
    for mean, covariance, count in zip(mixture.means, mixture.covariances, counts, strict=True):
        if separately:
            drawn.append(mean + rng.standard_normal((count, len(mean))) * np.sqrt(np.diag(covariance)))
        else:
            drawn.append(rng.multivariate_normal(mean, covariance, count))
    return np.vstack(drawn), np.repeat(np.arange(len(counts)), counts)


def _single_points(chosen: Int[np.ndarray, " K"], n_points: int) -> Responsibilities:
    shares = np.zeros((n_points, len(chosen)))
    shares[chosen, np.arange(len(chosen))] = 1.0
    return shares


def _plus_plus(
    x: Points, n_centers: int, weights: Weights, rng: np.random.RandomState
) -> Int[np.ndarray, " {n_centers}"]:
    """Indices of centres: each is the best of a few candidates, drawn with probability by their squared distance."""
    squares = (x**2).sum(1)
    n_trials = 2 + int(np.log(n_centers))  # as many as scikit-learn draws
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


def _squared_distances(centers: Centers, x: Points, squares: Float[np.ndarray, " N"]) -> Float[np.ndarray, "K N"]:
    distances = (centers**2).sum(1)[:, None] - 2 * centers @ x.T + squares
    return np.maximum(distances, 0.0)


def _lloyd(x: Points, centers: Centers, weights: Weights) -> Labels:
    """Labels after Lloyd's k-means from given centres."""
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


def _nearest(x: Points, centers: Centers) -> Labels:
    # Squared distances without the square of the point, which is equal for all centres.
    return ((centers**2).sum(1) - 2 * x @ centers.T).argmin(1)


def _averages(x: Points, labels: Labels, centers: Centers, weights: Weights) -> Centers:
    """Weighted mean of each cluster; an empty cluster gets the point that is farthest from its own centre."""
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
