"""A start for many components: k-means into more cells than components, and cells merged to their number.

Plain k-means ends with one centre too few in one place and one too many in another, and EM cannot mend it. Many more
cells than components miss no place; which of them belong together is then asked of a Gaussian.
"""

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.linalg import squared_distances
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.search.covariance_shape import CovarianceShape, pair_moments
from bayes_gmm.search.kmeans import cell_moments, greedy_plus_plus, lloyd

_NEIGHBOURS = 12
"""Nearest cells with which a cell may be merged."""

_OF_SINGLE_POINTS = 1e-6
"""Variance added to that within cells, in unit coordinates: cells of single points have none."""


def merged_cells(
    rng: np.random.Generator,
    z: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
    n_components: int,
    n_cells: int,
    shape: CovarianceShape,
) -> Moments:
    """Moments (K, ...) of components: k-means cells merged pair by pair, each time the pair whose Gaussian loses least.

    References
    ----------
    Greedy k-means++: Arthur and Vassilvitskii (2007), SODA, 1027-1035; merging by the classification likelihood: Fraley
    (1998), doi 10.1137/S1064827596311451.
    """
    cells = cell_moments(z, weights, lloyd(z, weights, greedy_plus_plus(rng, z, weights, n_cells)))
    return _merge(cells, n_components, shape)


class _Score:
    """Classification log-likelihood of clusters, each shrunk by D + 2 points of the covariance within all cells."""

    def __init__(self, cells: Moments, shape: CovarianceShape) -> None:
        n_features = cells.means.shape[1]
        within = np.einsum("k,kij->ij", cells.counts, cells.covariances) / cells.counts.sum()
        self._shape, self._pooled = shape, n_features + 2.0
        self._within = within + _OF_SINGLE_POINTS * np.eye(n_features)
        self._precision = np.linalg.inv(shape.seen(self._within))

    def __call__(self, clusters: Moments) -> Float[np.ndarray, " C"]:
        counts, _, covariances = clusters
        if self._shape.shared:
            spread = np.einsum("ij,kij->k", self._precision, covariances)
        else:
            spread = self._shape.log_determinants(self.shrunk(clusters).covariances)
        return counts * np.log(counts) - 0.5 * counts * spread

    def shrunk(self, clusters: Moments) -> Moments:
        counts, means, covariances = clusters
        total = (counts[:, None, None] * covariances + self._pooled * self._within) / (counts + self._pooled)[
            :, None, None
        ]
        return Moments(counts, means, total)

    def loss(self, clusters: Moments, first: Int[np.ndarray, " P"], second: Int[np.ndarray, " P"]) -> np.ndarray:
        """What is lost by merging each of these pairs."""
        apart = sum(self(Moments(*(part[one] for part in clusters))) for one in (first, second))
        return apart - self(pair_moments(clusters, first, second))


def _merge(cells: Moments, n_components: int, shape: CovarianceShape) -> Moments:
    """Clusters of cells, in number that of the components, or fewer where no others are near enough."""
    score, clusters = _Score(cells, shape), Moments(*(np.array(part) for part in cells))
    n_cells = len(clusters.counts)
    distances = squared_distances(clusters.means, clusters.means)
    np.fill_diagonal(distances, np.inf)
    near = np.argsort(distances, axis=1)[:, : min(_NEIGHBOURS, n_cells - 1)]
    first, second = np.repeat(np.arange(n_cells), near.shape[1]), near.ravel()
    cost = np.full((n_cells, n_cells), np.inf)
    cost[first, second] = score.loss(clusters, first, second)
    cost = np.minimum(cost, cost.T)
    cheapest, least = cost.argmin(1), cost.min(1)
    for _ in range(n_cells - n_components):
        kept = int(least.argmin())
        gone = int(cheapest[kept])
        if np.isinf(least[kept]):
            break
        near = np.isfinite(cost[kept]) | np.isfinite(cost[gone])
        near[[kept, gone]] = False
        for part, merged in zip(clusters, pair_moments(clusters, np.array([kept]), np.array([gone])), strict=True):
            part[kept] = merged[0]
        clusters.counts[gone] = 0.0
        cost[gone] = cost[:, gone] = np.inf
        others = np.flatnonzero(near)
        cost[kept, others] = cost[others, kept] = score.loss(clusters, np.full(len(others), kept), others)
        changed = np.append(others, [kept, gone])
        cheapest[changed], least[changed] = cost[changed].argmin(1), cost[changed].min(1)
    left = np.flatnonzero(clusters.counts)
    return score.shrunk(Moments(*(part[left] for part in clusters)))
