"""k-means: greedy k-means++ and a few of Lloyd's steps, for cells of which components are made."""

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.row_products import cross_product, rows_product, weighted_sums
from bayes_gmm.likelihood.moments import Moments

_LLOYD_STEPS = 8
"""Steps of Lloyd's algorithm: cells need not have converged to be merged."""

_SEEDING_POINTS_PER_CELL = 8
"""Random points for each cell, among which centres are chosen."""


def greedy_plus_plus(
    rng: np.random.Generator, z: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"], n_centers: int
) -> Float[np.ndarray, "M D"]:
    """Centres (M, D), each the best of a few drawn with probability proportional to squared distance to the others."""
    most = max(4096, _SEEDING_POINTS_PER_CELL * n_centers)
    if len(z) > most:
        chosen = rng.choice(len(z), most, replace=False, p=weights / weights.sum())
        z, weights = z[chosen], np.ones(most)
    n_trials = 2 + int(np.log(n_centers))
    centers = np.empty((n_centers, z.shape[1]))
    squares, nearest = (z**2).sum(1), np.full(len(z), np.inf)
    for number in range(n_centers):
        chances = weights * np.where(np.isinf(nearest), 1.0, nearest)
        cumulative = np.cumsum(chances if chances.sum() > 0 else weights)
        drawn = np.searchsorted(cumulative, rng.random(n_trials) * cumulative[-1], side="right")
        tried = z[np.minimum(drawn, len(z) - 1)]
        distances = np.minimum(
            nearest, np.maximum(squares - 2 * rows_product(z, tried.T).T + (tried**2).sum(1)[:, None], 0.0)
        )
        best = int(weighted_sums(distances, weights).argmin())
        centers[number], nearest = tried[best], distances[best]
    return centers


def lloyd(
    z: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"], centers: Float[np.ndarray, "M D"]
) -> Int[np.ndarray, " N"]:
    """Number of the cell of each point."""
    cell = _nearest(z, centers)
    for _ in range(_LLOYD_STEPS):
        counts = np.bincount(cell, weights, len(centers))
        sums = np.stack([np.bincount(cell, weights * column, len(centers)) for column in z.T], 1)
        centers = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1e-300)[:, None], centers)
        cell = _nearest(z, centers)
    return cell


def _nearest(z: Float[np.ndarray, "N D"], centers: Float[np.ndarray, "M D"]) -> Int[np.ndarray, " N"]:
    halves = 0.5 * (centers**2).sum(1)
    parts = np.array_split(z, max(1, len(z) * len(centers) // 2**20))
    return np.concatenate([(rows_product(part, centers.T) - halves).argmax(1) for part in parts])


def cell_moments(z: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"], cell: Int[np.ndarray, " N"]) -> Moments:
    """Moments of the cells that have points."""
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    counts, means, covariances = [], [], []
    for rows in np.split(order, starts[1:]):
        mean = weighted_sums(z[rows].T, weights[rows]) / weights[rows].sum()
        offsets = z[rows] - mean
        counts.append(weights[rows].sum())
        means.append(mean)
        covariances.append(cross_product(weights[rows, None] * offsets, offsets) / counts[-1])
    return Moments(np.array(counts), np.array(means), np.array(covariances))
