"""What a move gains: EM of the components near by, on the rows that they hold, while all others stay as they are.

A step of it costs as much less than one of EM as these rows and components are fewer, so that all promising moves can
be tried, and only those that gain are made.

References
----------
Steps of a few components: Ueda, Nakano, Ghahramani and Hinton (2000), doi 10.1162/089976600300015088; others keep
their statistics: Neal and Hinton (1998), doi 10.1007/978-94-011-5014-9_12.
"""

from operator import itemgetter
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.row_products import cross_product, rows_product, weighted_sums
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.search.row_statistics import Responsibilities, RowEM, moments, natural, normalise

_STEPS, _FEWEST_STEPS = 12, 3
"""Steps of EM of a rehearsal, and before it is given up where the others will not make up for what it loses."""

_NEIGHBOURS = 4
"""Components that share most rows with those that a move touches, and adapt to it."""

_ROWS_AT_ONCE = 1024
"""Rows whose overlaps are summed together: few components have a share in rows side by side."""

_SHARE = 1e-4
"""Responsibility of all of them together below which a row is not theirs: EM without the tails of components makes them
too narrow, and with a hundred times as much every move would seem to lose ten nats."""


class Rehearsal(NamedTuple):
    """What a move gains, in nats; the components that adapt to it, and the moments of all components after it."""

    gain: float
    near: Int[np.ndarray, " A"]
    moments: Moments


def overlaps(held: Responsibilities) -> Float[np.ndarray, "K K"]:
    """Points that each two components share."""
    n_components, n_rows = held.shares.shape
    total = np.zeros((n_components, n_components))
    for start in range(0, n_rows, _ROWS_AT_ONCE):
        shares = held.shares[:, start : start + _ROWS_AT_ONCE]
        some = np.flatnonzero(shares.max(1) > _SHARE)
        total[np.ix_(some, some)] += cross_product(shares[some].T, shares[some].T)
    return total


def rehearse(
    em: RowEM, held: Responsibilities, overlap: Float[np.ndarray, "K K"], after: Moments, touched: set[int]
) -> Rehearsal:
    """Let the components near by adapt to a move with these moments after it, which touches some of them."""
    near = near_by(overlap, touched)
    inside = held.shares[near].sum(0)
    own = np.flatnonzero(inside > _SHARE)
    phi, weights, before = em.rows.features_of(own), em.rows.weights[own], held.log_density[own]
    outside = before + np.log(np.maximum(1 - inside[own], np.finfo(float).tiny))
    gains: list[float] = []
    for left in reversed(range(_STEPS)):
        mixture = jax.tree.map(itemgetter(near), em.maximise(after, near=held.state.mixture))
        if not em.is_sound(mixture):
            return Rehearsal(-np.inf, near, after)
        covariances = mixture.scale_tril @ mixture.scale_tril.mT
        eta = natural(mixture.log_weights, mixture.means, covariances, diagonal=em.rows.diagonal)
        shares = np.concatenate([rows_product(eta, phi.T), outside[None]])
        gains.append(float(weighted_sums(normalise(shares) - before, weights)))
        if _hopeless(gains, left):
            break
        statistics = cross_product((shares[:-1] * weights).T, phi)
        found = moments(statistics, em.rows.z.shape[1], diagonal=em.rows.diagonal)
        after = Moments(*(np.array(part) for part in after))
        for part, new in zip(after, found, strict=True):
            part[near] = new
    return Rehearsal(gains[-1], near, after)


def _hopeless(gains: list[float], left: int) -> bool:
    """Whether so many more steps will not gain anything, each as much as the last: they gain less and less."""
    return len(gains) >= _FEWEST_STEPS and gains[-1] + left * (gains[-1] - gains[-2]) < 0


def near_by(overlap: Float[np.ndarray, "K K"], touched: set[int]) -> Int[np.ndarray, " A"]:
    """Components that a move touches, and those that share most points with them."""
    of_move = np.array(sorted(touched))
    shared = overlap[of_move].sum(0)
    shared[of_move] = np.inf
    return np.sort(np.argsort(-shared, kind="stable")[: len(of_move) + _NEIGHBOURS])
