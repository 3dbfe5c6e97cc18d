"""What it would lose to merge two components or to delete one, told from the responsibilities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.linalg import LOG_2PI, diagonal_of
from bayes_gmm.core.row_products import rows_product, weighted_sums
from bayes_gmm.search.covariance_shape import LEAST_VARIANCE, CovarianceShape, pair_moments
from bayes_gmm.search.row_statistics import Responsibilities, RowEM, State

_SHARE = 1e-3
"""Responsibility below which a row is not a component's own."""

_NEIGHBOURS = 6
"""Nearest components with which a component may be merged."""

DELETED = -1


class Removal(NamedTuple):
    """A component that is given up, `gone`: merged `into` another, or `DELETED`; and what that loses, in nats."""

    loss: float
    gone: int
    into: int


def removals(em: RowEM, held: Responsibilities, shape: CovarianceShape) -> list[Removal]:
    """Deletions of each component, and merges with its neighbours, the cheapest first; the rest is kept as it is.

    Losses are told on all rows of the components: on a sample of them they are too uncertain to be compared.
    """
    first, second = _neighbours(held.state)
    merged = _losses_of_merging(em, held, first, second, shape)
    deleted = -weighted_sums(np.log(np.maximum(1 - held.shares, np.finfo(float).tiny)), em.rows.weights)
    merges = [
        Removal(float(loss), int(gone), int(into)) for loss, gone, into in zip(merged, first, second, strict=True)
    ]
    return sorted(merges + [Removal(float(loss), gone, DELETED) for gone, loss in enumerate(deleted)])


def _losses_of_merging(
    em: RowEM,
    held: Responsibilities,
    first: Int[np.ndarray, " P"],
    second: Int[np.ndarray, " P"],
    shape: CovarianceShape,
) -> Float[np.ndarray, " P"]:
    """Fall of the log-likelihood if each pair became one Gaussian with the moments of both."""
    state, shares = held.state, held.shares
    pairs, log_weights = pair_moments(state.moments, first, second), state.mixture.log_weights
    covariances = shape.seen(pairs.covariances)
    if shape.shared:
        covariances = (state.mixture.scale_tril @ state.mixture.scale_tril.mT)[first]
    covariances = covariances + LEAST_VARIANCE * np.eye(covariances.shape[-1])
    together = np.logaddexp(log_weights[first], log_weights[second])
    whitening = np.linalg.inv(np.linalg.cholesky(covariances))
    constants = together + np.log(diagonal_of(whitening)).sum(-1) - 0.5 * covariances.shape[-1] * LOG_2PI
    losses = np.zeros(len(first))
    own = shares > _SHARE
    for pair, (one, other) in enumerate(zip(first, second, strict=True)):
        rows = np.flatnonzero(own[one] | own[other])
        squares = rows_product(em.rows.z[rows] - pairs.means[pair], whitening[pair].T) ** 2
        log_density = constants[pair] - 0.5 * squares.sum(1)
        left = 1 - shares[one, rows] - shares[other, rows]
        # A merged Gaussian may be far denser than the mixture at a point, where its gain stays below 700 nats.
        density = left + np.exp(np.minimum(log_density - held.log_density[rows], 700.0))
        losses[pair] = -weighted_sums(np.log(np.maximum(density, np.finfo(float).tiny)), em.rows.weights[rows])
    return losses


def _neighbours(state: State) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """Pairs of components of which one is among the nearest to the other, in the metric of either."""
    means = state.mixture.means
    whitened = np.linalg.inv(state.mixture.scale_tril) @ (means[None] - means[:, None]).mT
    distances = (whitened**2).sum(1)
    np.fill_diagonal(distances, np.inf)
    distances = np.minimum(distances, distances.T)
    near = np.argsort(distances, 1)[:, : min(_NEIGHBOURS, len(means) - 1)]
    pairs = {(min(i, j), max(i, j)) for i, row in enumerate(near.tolist()) for j in row}
    first, second = np.array(sorted(pairs)).T
    return first, second
