"""What it would lose to merge two components or to delete one, told from the responsibilities."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.row_products import rows_product
from bayes_gmm.search.covariance_shape import LEAST_VARIANCE, CovarianceShape, pair_moments
from bayes_gmm.search.row_statistics import RowEM, State, natural

_ROWS = 4096
"""Rows on which losses are told."""

_NEIGHBOURS = 6
"""Nearest components with which a component may be merged."""

_NUMBERS_AT_ONCE = 2**22
"""Largest number of float64 values that are held for pairs of components."""

DELETED = -1


class Removal(NamedTuple):
    """A component that is given up, `gone`: merged `into` another, or `DELETED`; and what that loses, in nats."""

    loss: float
    gone: int
    into: int


def removals(em: RowEM, state: State, rng: np.random.Generator, shape: CovarianceShape) -> list[Removal]:
    """Deletions of each component, and merges with its neighbours, the cheapest first; the rest is kept as it is."""
    rows = em.rows
    chosen = np.arange(len(rows.z))
    if len(chosen) > _ROWS:
        chosen = rng.choice(chosen, _ROWS, replace=False)
    weights = rows.weights[chosen] * (rows.weights.sum() / rows.weights[chosen].sum())
    first, second = _neighbours(state)
    merged = _losses_of_merging(em, state, chosen, weights, first, second, shape)
    deleted = -weights @ np.log(np.maximum(1 - state.shares[chosen], np.finfo(float).tiny))
    merges = [
        Removal(float(loss), int(gone), int(into)) for loss, gone, into in zip(merged, first, second, strict=True)
    ]
    return sorted(merges + [Removal(float(loss), gone, DELETED) for gone, loss in enumerate(deleted)])


def _losses_of_merging(
    em: RowEM,
    state: State,
    chosen: Int[np.ndarray, " S"],
    weights: Float[np.ndarray, " S"],
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
    for part in np.array_split(np.arange(len(chosen)), len(chosen) * len(first) // _NUMBERS_AT_ONCE + 1):
        rows = chosen[part]
        relative = rows_product(em.rows.features_of(rows), eta.T) - state.log_density[rows, None]
        left = 1 - state.shares[np.ix_(rows, first)] - state.shares[np.ix_(rows, second)]
        # A merged Gaussian may be far denser than the mixture at a point, where its gain stays below 700 nats.
        losses -= weights[part] @ np.log(np.maximum(left + np.exp(np.minimum(relative, 700.0)), np.finfo(float).tiny))
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
