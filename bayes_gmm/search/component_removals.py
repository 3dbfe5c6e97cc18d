"""What it would lose to merge two components or to delete one, told from the responsibilities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.search.covariance_shape import LEAST_VARIANCE, CovarianceShape, pair_moments
from bayes_gmm.search.row_statistics import RowEM, State, natural

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


def removals(em: RowEM, state: State, shape: CovarianceShape) -> list[Removal]:
    """Deletions of each component, and merges with its neighbours, the cheapest first; the rest is kept as it is.

    Losses are told on all rows of the components: on a sample of them they are too uncertain to be compared.
    """
    first, second = _neighbours(state)
    merged = _losses_of_merging(em, state, first, second, shape)
    deleted = -em.rows.weights @ np.log(np.maximum(1 - state.shares, np.finfo(float).tiny))
    merges = [
        Removal(float(loss), int(gone), int(into)) for loss, gone, into in zip(merged, first, second, strict=True)
    ]
    return sorted(merges + [Removal(float(loss), gone, DELETED) for gone, loss in enumerate(deleted)])


def _losses_of_merging(
    em: RowEM,
    state: State,
    first: Int[np.ndarray, " P"],
    second: Int[np.ndarray, " P"],
    shape: CovarianceShape,
) -> Float[np.ndarray, " P"]:
    """Fall of the log-likelihood if each pair became one Gaussian with the moments of both."""
    pairs, log_weights = pair_moments(state.moments, first, second), state.mixture.log_weights
    covariances = shape.seen(pairs.covariances)
    if shape.shared:
        covariances = (state.mixture.scale_tril @ state.mixture.scale_tril.mT)[first]
    covariances = covariances + LEAST_VARIANCE * np.eye(covariances.shape[-1])
    together = np.logaddexp(log_weights[first], log_weights[second])
    eta = natural(together, pairs.means, covariances, diagonal=em.rows.diagonal)
    losses = np.zeros(len(first))
    own = [np.flatnonzero(shares > _SHARE) for shares in state.shares.T]
    for pair, (one, other) in enumerate(zip(first, second, strict=True)):
        rows = np.union1d(own[one], own[other])
        relative = em.rows.features_of(rows) @ eta[pair] - state.log_density[rows]
        left = 1 - state.shares[rows, one] - state.shares[rows, other]
        # A merged Gaussian may be far denser than the mixture at a point, where its gain stays below 700 nats.
        density = left + np.exp(np.minimum(relative, 700.0))
        losses[pair] = -em.rows.weights[rows] @ np.log(np.maximum(density, np.finfo(float).tiny))
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
