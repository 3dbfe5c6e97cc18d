"""What it would gain to split a component: short runs of EM on its own points, all else kept as it is."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.row_products import cross_product, rows_product, weighted_sums
from bayes_gmm.likelihood.moments import Moments, features_of_rows
from bayes_gmm.search.covariance_shape import LEAST_VARIANCE, CovarianceShape
from bayes_gmm.search.row_statistics import Responsibilities, RowEM, moments, natural

_RACE = ((5, 4), (9, 2), (25, 1))
"""Steps of EM of two halves, and how many pairs of them are left after these: good halves may be slow to show."""

_ROWS = 1024
"""Rows on which a split is tried."""

_TRIALS, _TRIALS_OF_FEW_POINTS, _FEW_POINTS = 12, 32, 128
"""Ways to begin with two halves: more for a component of few points, where they cost little and good ones are rare."""

_SHARE = 1e-4
"""Responsibility below which a row is not a component's own."""

_LARGEST_LOG_RATIO = 700.0
"""Bound on the logarithm of the ratio of both halves at a row."""

_NO_POINTS = 1e-6
"""Points of a half below which it has none: its statistics are a difference, and what is left of them is rounding."""

_NARROWEST = 1e-4
"""Variance added to halves, relative to the component that is split."""

_NUMBERS_AT_ONCE = 2**22
"""Largest number of float64 values that are held for components split together."""


class Halves(NamedTuple):
    """The best split of each component.

    Attributes
    ----------
    gains : (K,)
        Lower bound on what it gains, in nats; minus infinity where there is none.
    moments : (K, 2, ...)
        Of the two halves.
    """

    gains: Float[np.ndarray, " K"]
    moments: Moments


class _Own(NamedTuple):
    """Rows of some components (C,), each in the metric of its component.

    Attributes
    ----------
    y : (C, S, D)
        Rows relative to the mean, with the identity as covariance.
    weights : (C, S)
        Weights times responsibilities.
    centers, roots : (C, D), (C, D, D)
        Of the map back, z = center + root y.
    """

    y: Float[np.ndarray, "C S D"]
    weights: Float[np.ndarray, "C S"]
    centers: Float[np.ndarray, "C D"]
    roots: Float[np.ndarray, "C D D"]


def split_halves(em: RowEM, held: Responsibilities, rng: np.random.Generator, shape: CovarianceShape) -> Halves:
    """The best of a few splits of each component that has points for two."""
    (n_components, width), n_features = held.state.eta.shape, em.rows.z.shape[1]
    square = (n_components, 2, n_features, n_features)
    halves = Halves(np.full(n_components, -np.inf), Moments(*(np.zeros(square[:size]) for size in (2, 3, 4))))
    counts = held.state.moments.counts
    enough, few = counts > 2 * (n_features + 1), counts < _FEW_POINTS
    for which, n_trials in ((enough & few, _TRIALS_OF_FEW_POINTS), (enough & ~few, _TRIALS)):
        size = _ROWS * (width + 2 * n_trials) + 2 * n_trials * n_features**2
        for numbers in np.array_split(np.flatnonzero(which), which.sum() * size // _NUMBERS_AT_ONCE + 1):
            if numbers.size:
                some = _halve(_own(em, held, rng, numbers, shape), n_trials, rng, shape)
                halves.gains[numbers] = some.gains
                for every, part in zip(halves.moments, some.moments, strict=True):
                    every[numbers] = part
    return halves


def _own(
    em: RowEM, held: Responsibilities, rng: np.random.Generator, numbers: Int[np.ndarray, " C"], shape: CovarianceShape
) -> _Own:
    z, weights = _own_rows(em, held, rng, numbers)
    counts = weights.sum(1)
    centers = np.einsum("cs,csd->cd", weights, z) / counts[:, None]
    offsets = z - centers[:, None]
    covariances = shape.seen(cross_product(weights[..., None] * offsets, offsets) / counts[:, None, None])
    roots = np.linalg.cholesky(covariances + LEAST_VARIANCE * np.eye(z.shape[2]))
    return _Own(rows_product(offsets, np.linalg.inv(roots).mT), weights, centers, roots)


def _own_rows(
    em: RowEM, held: Responsibilities, rng: np.random.Generator, numbers: Int[np.ndarray, " C"]
) -> tuple[Float[np.ndarray, "C S D"], Float[np.ndarray, "C S"]]:
    """Rows of each component with their weights: all that matter, or as many drawn in proportion to their share."""
    chosen, weights = np.zeros((len(numbers), _ROWS), int), np.zeros((len(numbers), _ROWS))
    for place, k in enumerate(numbers):
        own = np.flatnonzero(held.shares[k] > _SHARE)
        shares = held.shares[k, own] * em.rows.weights[own]
        if len(own) > _ROWS:
            cumulative = np.cumsum(shares)
            at = (np.arange(_ROWS) + rng.random()) / _ROWS * cumulative[-1]
            chosen[place] = own[np.minimum(np.searchsorted(cumulative, at), len(own) - 1)]
            weights[place] = cumulative[-1] / _ROWS
        else:
            chosen[place, : len(own)], weights[place, : len(own)] = own, shares
    longest = int((weights > 0).sum(1).max())
    return em.rows.z[chosen[:, :longest]], weights[:, :longest]


def _halve(own: _Own, n_trials: int, rng: np.random.Generator, shape: CovarianceShape) -> Halves:
    """EM of two halves from each beginning, ever longer of those that gain most, and the best end."""
    y, weights, centers, roots = own
    n_features, diagonal = y.shape[2], shape.kind != "full"
    phi = features_of_rows(y, diagonal=diagonal)
    standard = natural(np.zeros(()), np.zeros(n_features), np.eye(n_features), diagonal=diagonal)
    alone = rows_product(phi, standard[:, None])
    first = _first_halves(rng, n_trials, y, weights)
    for n_steps, n_left in _RACE:
        for _ in range(n_steps):
            halves, eta = _maximise(first, phi, weights, n_features, shape)
            first = _shares_of_first(eta, phi)
        log_density = rows_product(phi, eta[:, :, 0].mT) - np.log(first)
        gains = weighted_sums((log_density - alone).mT, weights[:, None])
        gains = np.where(halves.counts.min(2) > n_features + 1, gains, -np.inf)
        best = np.argsort(-gains, 1)[:, :n_left]
        first = np.take_along_axis(first, best[:, None], 2)
    chosen = np.arange(len(y)), best[:, 0]
    counts, means, covariances = (part[chosen] for part in halves)
    back = roots[:, None]
    found = Moments(counts, centers[:, None] + means @ roots.mT, back @ covariances @ back.mT)
    return Halves(gains[chosen], found)


def _maximise(
    first: Float[np.ndarray, "C S T"],
    phi: Float[np.ndarray, "C S F"],
    weights: Float[np.ndarray, "C S"],
    n_features: int,
    shape: CovarianceShape,
) -> tuple[Moments, Float[np.ndarray, "C T 2 F"]]:
    """Both halves if the first has these shares, and their natural parameters."""
    diagonal = shape.kind != "full"
    of_first = cross_product(first * weights[..., None], phi)
    of_second = cross_product(weights[..., None], phi) - of_first
    of_second[of_second[..., 0] < _NO_POINTS] = 0.0
    counts, means, covariances = moments(np.stack([of_first, of_second], 2), n_features, diagonal=diagonal)
    covariances = _covariances(Moments(counts, means, covariances), shape)
    log_weights = np.log(np.maximum(counts, np.finfo(float).tiny) / weights.sum(1)[:, None, None])
    eta = natural(log_weights, means, covariances, diagonal=diagonal)
    return Moments(counts, means, covariances), eta


def _shares_of_first(eta: Float[np.ndarray, "C T 2 F"], phi: Float[np.ndarray, "C S F"]) -> Float[np.ndarray, "C S T"]:
    """Shares of the first half, by one exponential each: 1 / (1 + second / first)."""
    ratios = rows_product(phi, (eta[:, :, 1] - eta[:, :, 0]).mT)
    np.exp(np.clip(ratios, -_LARGEST_LOG_RATIO, _LARGEST_LOG_RATIO, out=ratios), out=ratios)
    ratios += 1
    return np.divide(1, ratios, out=ratios)


def _covariances(halves: Moments, shape: CovarianceShape) -> Float[np.ndarray, "C T 2 D D"]:
    """Those of halves, or one for both where components share theirs."""
    counts, _, covariances = halves
    seen = shape.seen(covariances)
    if shape.shared:
        portions = counts / counts.sum(-1, keepdims=True)
        seen = np.broadcast_to((portions[..., None, None] * seen).sum(-3, keepdims=True), seen.shape)
    return seen + _NARROWEST * np.eye(seen.shape[-1])


def _first_halves(
    rng: np.random.Generator, n_trials: int, y: Float[np.ndarray, "C S D"], weights: Float[np.ndarray, "C S"]
) -> Float[np.ndarray, "C S T"]:
    """Ways to halve points: those that are nearer to one random point than another random point is.

    Halves of a Gaussian on either side of a plane are alike. What hides in a component that passes for one Gaussian
    differs in its spread, which a ball and what lies around it do as well.
    """
    n_components, n_rows, _ = y.shape
    cumulative = np.cumsum(weights, 1)
    at = rng.random((n_components, 2 * n_trials)) * cumulative[:, -1:]
    drawn = (cumulative[:, None] <= at[..., None]).sum(-1).clip(0, n_rows - 1)
    points = np.take_along_axis(y, drawn[..., None], 1)
    one, other = np.split(points, 2, axis=1)
    # |y - one|^2 < |other - one|^2, less |one|^2 on both sides.
    limits = (other * (other - 2 * one)).sum(-1)
    nearness = (y**2).sum(-1)[..., None] - 2 * rows_product(y, one.mT)
    return (nearness < limits[:, None]).astype(np.float64)
