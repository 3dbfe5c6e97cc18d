r"""A mixture of t distributions, fitted to points: the proposal of independence moves.

.. math:: q(u) = \sum_g w_g \sum_j a_j \, t_{\nu_j}(u \mid c_g, s_j^2 S_g)

Each part is nearly Gaussian and has a share of heavy tails. A t distribution of few degrees of freedom alone would
waste most of its draws far out where coordinates are many, and a Gaussian alone would hold chains where it is too
thin.

References
----------
Hoogerheide, Kaashoek and van Dijk (2007), doi 10.1016/j.jeconom.2006.06.001.
"""

from collections.abc import Callable, Sequence
from math import lgamma
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Array, Float, Int

from bayes_gmm.core.linalg import log_diagonal

EM_STEPS = 15
"""Steps of EM for the Gaussians, from a random start: the proposal need not be optimal."""

_BLOCK = 128
"""Points whose products are computed together."""

_LEAST = 0.01
"""Points' worth of the spread of all points in each part, so that parts of few points have a covariance."""

_RIDGE = 1e-9
"""Added to the variances of points on a line, relative to them."""


class Tail(NamedTuple):
    """Share a, degrees of freedom nu and relative width s of one t distribution of every part."""

    share: float
    freedom: float
    width: float

    def log_density(self, squares: Float[Array, "*batch"], size: int) -> Float[Array, "*batch"]:
        """Logarithm of share times density in standard coordinates, `size` of them, by their sum of squares."""
        nu, total = self.freedom, self.freedom + size
        constant = lgamma(total / 2) - lgamma(nu / 2) - 0.5 * size * np.log(nu * np.pi * self.width**2)
        return np.log(self.share) + constant - 0.5 * total * jnp.log1p(squares / (nu * self.width**2))


TAILS = (Tail(0.5, 30.0, 1.05), Tail(0.5, 5.0, 1.2))
_SHARES, _FREEDOMS, _WIDTHS = map(np.array, zip(*TAILS, strict=True))


class TMixture(NamedTuple):
    """Weights, centres and scale factors (lower triangular) of the parts, and the inverses of the factors."""

    log_weights: Float[Any, " G"]
    centers: Float[Any, "G P"]
    factors: Float[Any, "G P P"]
    inverses: Float[Any, "G P P"]

    def log_density(self, coordinates: Float[Array, "*G P"]) -> Float[Array, ""]:
        """Log density; the coordinates may differ from part to part."""
        offsets = jnp.einsum("gij,gj->gi", self.inverses, jnp.atleast_2d(coordinates) - jnp.asarray(self.centers))
        squares, log_scale = (offsets**2).sum(-1), log_diagonal(jnp.asarray(self.inverses))
        standard = jnp.stack([tail.log_density(squares, offsets.shape[-1]) for tail in TAILS])
        return jax.nn.logsumexp(self.log_weights + log_scale + jax.nn.logsumexp(standard, axis=0))

    def sample(
        self, size: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "size P"], Int[np.ndarray, " size"]]:
        """Draws (size, P), and the part that each was drawn from."""
        part = rng.choice(len(self.log_weights), size, p=np.exp(self.log_weights))
        number = rng.choice(len(TAILS), size, p=_SHARES)
        scale = _WIDTHS[number] * np.sqrt(_FREEDOMS[number] / rng.chisquare(_FREEDOMS[number]))
        noise = rng.standard_normal((size, self.centers.shape[1])) * scale[:, None]
        return self.centers[part] + np.einsum("sij,sj->si", self.factors[part], noise), part


def standard(n_coordinates: int, n_parts: int) -> TMixture:
    """A mixture of so many coordinates and parts, for which programs are compiled."""
    unit = np.tile(np.eye(n_coordinates), (n_parts, 1, 1))
    return TMixture(np.full(n_parts, -np.log(n_parts)), np.zeros((n_parts, n_coordinates)), unit, unit)


def joined(mixtures: Sequence[TMixture], shares: Sequence[float]) -> TMixture:
    """A mixture of mixtures, each with its share."""
    weighted = [
        one._replace(log_weights=one.log_weights + np.log(share)) for one, share in zip(mixtures, shares, strict=True)
    ]
    return TMixture(*map(np.concatenate, zip(*weighted, strict=True)))


def fit_t_mixture(points: Float[np.ndarray, "B P"], n_parts: int, rng: np.random.Generator) -> TMixture:
    """Mixture whose parts are Gaussians fitted to points by EM, widened."""
    middle, pooled = points.mean(0), np.cov(points.T).reshape(points.shape[1], -1)
    common = np.linalg.cholesky(pooled + _RIDGE * np.diag(np.diagonal(pooled)))
    unit = scipy.linalg.solve_triangular(common, (points - middle).T, lower=True).T
    shares = nearest_seed(lambda row: ((unit - unit[row]) ** 2).sum(1), len(unit), n_parts, rng)[1]
    views = np.broadcast_to(unit, (n_parts, *unit.shape))
    for _ in range(EM_STEPS if n_parts > 1 else 1):
        found = fit_gaussians(views, shares)
        shares = shares_of(views, found)
    return found.in_coordinates(middle, common, n_parts)


class Gaussians(NamedTuple):
    """Weights (G,), centres (G, P) and covariances (G, P, P) of the parts in unit coordinates."""

    weights: np.ndarray
    centers: np.ndarray
    covariances: np.ndarray

    def in_coordinates(
        self, middle: Float[np.ndarray, " P"], common: Float[np.ndarray, "P P"], n_parts: int
    ) -> TMixture:
        """The parts in coordinates `middle + common @ unit`, filled up to so many with parts that weigh nothing."""
        G, P = self.centers.shape
        unused = n_parts - G
        with np.errstate(divide="ignore"):
            log_weights = np.log(np.concatenate([self.weights, np.zeros(unused)]))
        factors = np.concatenate([common @ np.linalg.cholesky(self.covariances), np.tile(np.eye(P), (unused, 1, 1))])
        centers = np.concatenate([middle + self.centers @ common.T, np.zeros((unused, P))])
        return TMixture(log_weights, centers, factors, np.linalg.inv(factors))


def nearest_seed(
    distances_from: Callable[[int], Float[np.ndarray, " B"]], n_points: int, n_parts: int, rng: np.random.Generator
) -> tuple[list[int], Float[np.ndarray, "B G"]]:
    """Rows far from one another, each drawn with a probability that grows with the distance to those before it.

    `distances_from` gives the squared distances of all points from a row; also returned is which seed is nearest.
    """
    chosen = [int(rng.integers(n_points))]
    each = [distances_from(chosen[0])]
    while len(chosen) < n_parts:
        distances = np.min(each, axis=0)
        chosen.append(int(rng.choice(len(distances), p=distances / distances.sum())))
        each.append(distances_from(chosen[-1]))
    return chosen, np.eye(n_parts)[np.argmin(each, axis=0)]


def fit_gaussians(views: Float[np.ndarray, "G B P"], shares: Float[np.ndarray, "B G"]) -> Gaussians:
    """Gaussians of points of which each part has its shares, and a view of its own."""
    G, _, P = views.shape
    weights, centers, covariances = np.empty(G), np.empty((G, P)), np.empty((G, P, P))
    spread = _LEAST * np.eye(P) / G ** (2 / P)
    for g, (view, share) in enumerate(zip(views, shares.T, strict=True)):
        count = share.sum() + 1e-3
        centers[g] = share @ view / count
        offsets = _in_blocks(view - centers[g])
        scatter = ((offsets * _in_blocks(share[:, None])).mT @ offsets).sum(0) + spread
        own = np.diag(np.diagonal(scatter)) / (count + _LEAST)
        covariances[g] = (scatter + (P + 2) * own) / (count + _LEAST + P + 2)
        weights[g] = count
    return Gaussians(weights / weights.sum(), centers, covariances)


def transformed(points: Float[np.ndarray, "B P"], matrix: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "B P"]:
    """Product of a matrix with each point."""
    return (_in_blocks(points) @ matrix.T).reshape(-1, len(matrix))[: len(points)]


def _in_blocks(points: Float[np.ndarray, "B Q"]) -> Float[np.ndarray, "n b Q"]:
    """Points in blocks, filled up with zeros: products so small are not shared among threads, which would cost more."""
    padded = np.pad(points, ((0, -len(points) % _BLOCK), (0, 0)))
    return padded.reshape(-1, _BLOCK, points.shape[1])


def shares_of(views: Float[np.ndarray, "G B P"], parts: Gaussians) -> Float[np.ndarray, "B G"]:
    """Responsibilities of the parts, each of which has its own view of the points."""
    inverses = np.linalg.inv(np.linalg.cholesky(parts.covariances))
    log_scale = np.log(np.diagonal(inverses, axis1=1, axis2=2)).sum(1)
    each = zip(views, inverses, parts.centers, strict=True)
    squares = np.stack([(transformed(view - center, inverse) ** 2).sum(1) for view, inverse, center in each], 1)
    return scipy.special.softmax(np.log(parts.weights) + log_scale - 0.5 * squares, axis=1)
