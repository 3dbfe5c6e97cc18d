r"""A mixture of t distributions, fitted to points: the proposal of independence moves.

.. math:: q(u) = \sum_g w_g \, t_\nu(u \mid c_g, S_g)

Its tails are heavier than those of the posterior, so that chains do not stick where it is too thin.

References
----------
Hoogerheide, Kaashoek and van Dijk (2007), doi 10.1016/j.jeconom.2006.06.001.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.special
from jax.scipy.special import gammaln
from jaxtyping import Array, Float

DEGREES_OF_FREEDOM = 5.0
"""Degrees of freedom nu of the t distributions."""

MOST_PARTS = 16
"""Largest number of t distributions: the arrays have this length, and parts that are not used weigh nothing."""

_WIDER = 1.2
"""Factor by which the parts are wider than the Gaussians fitted to the particles."""

_EM_STEPS = 15
"""Steps of EM for the Gaussians, from a random start: the proposal need not be optimal."""


class TMixture(NamedTuple):
    """Weights, centres and scale factors (lower triangular) of the parts, and the inverses of the factors."""

    log_weights: Float[Any, " G"]
    centers: Float[Any, "G P"]
    factors: Float[Any, "G P P"]
    inverses: Float[Any, "G P P"]

    def log_density(self, coordinates: Float[Array, " P"]) -> Float[Array, ""]:
        """Log density."""
        P, nu = len(coordinates), DEGREES_OF_FREEDOM
        offsets = jnp.einsum("gij,gj->gi", self.inverses, coordinates[None] - self.centers)
        log_scale = jnp.log(jnp.diagonal(self.inverses, axis1=1, axis2=2)).sum(-1)
        constant = gammaln((nu + P) / 2) - gammaln(nu / 2) - 0.5 * P * np.log(nu * np.pi)
        parts = constant + log_scale - 0.5 * (nu + P) * jnp.log1p((offsets**2).sum(-1) / nu)
        return jax.nn.logsumexp(self.log_weights + parts)

    def draw(self, key: Array) -> Float[Array, " P"]:
        """One draw, in a compiled program."""
        which, normal, heavy = jax.random.split(key, 3)
        part = jax.random.categorical(which, self.log_weights)
        scale = jnp.sqrt(0.5 * DEGREES_OF_FREEDOM / jax.random.gamma(heavy, 0.5 * DEGREES_OF_FREEDOM))
        noise = jax.random.normal(normal, self.centers.shape[1:])
        centers, factors = jnp.asarray(self.centers), jnp.asarray(self.factors)
        return centers[part] + scale * (factors[part] @ noise)

    def sample(self, size: int, rng: np.random.Generator) -> Float[np.ndarray, "size P"]:
        """Draws (size, P)."""
        P = self.centers.shape[1]
        part = rng.choice(len(self.log_weights), size, p=np.exp(self.log_weights))
        heavy = np.sqrt(DEGREES_OF_FREEDOM / rng.chisquare(DEGREES_OF_FREEDOM, size))
        noise = rng.standard_normal((size, P)) * heavy[:, None]
        return self.centers[part] + np.einsum("sij,sj->si", self.factors[part], noise)


def standard(n_coordinates: int) -> TMixture:
    """A mixture of so many coordinates, for which programs are compiled."""
    unit = np.tile(np.eye(n_coordinates), (MOST_PARTS, 1, 1))
    return TMixture(np.zeros(MOST_PARTS), np.zeros((MOST_PARTS, n_coordinates)), unit, unit)


def fit_t_mixture(points: Float[np.ndarray, "B P"], n_parts: int, rng: np.random.Generator) -> TMixture:
    """Mixture whose parts are Gaussians fitted to points by EM, widened, their covariances drawn to the common one."""
    P = points.shape[1]
    middle, pooled = points.mean(0), np.cov(points.T).reshape(P, P)
    pooled += 1e-9 * np.diag(np.diagonal(pooled))
    common = np.linalg.cholesky(pooled)
    parts = _fit_unit(scipy.linalg.solve_triangular(common, (points - middle).T, lower=True).T, n_parts, rng)
    factors = _WIDER * common @ np.linalg.cholesky(parts.covariances)
    unused = MOST_PARTS - n_parts
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.concatenate([parts.weights, np.zeros(unused)]))
    factors = np.concatenate([factors, np.tile(np.eye(P), (unused, 1, 1))])
    centers = np.concatenate([middle + parts.centers @ common.T, np.zeros((unused, P))])
    return TMixture(log_weights, centers, factors, np.linalg.inv(factors))


class _Gaussians(NamedTuple):
    """Weights (G,), centres (G, P) and covariances (G, P, P)."""

    weights: np.ndarray
    centers: np.ndarray
    covariances: np.ndarray


def _fit_unit(points: Float[np.ndarray, "B P"], n_parts: int, rng: np.random.Generator) -> _Gaussians:
    """Gaussians fitted to points of mean zero and unit covariance, for whose products sums of squares are enough."""
    P = points.shape[1]
    rows, columns = np.tril_indices(P)
    products = points[:, rows] * points[:, columns]
    common = np.eye(P) * (P + 2) / n_parts ** (2 / P)
    found = _Gaussians(np.full(n_parts, 1 / n_parts), _seeds(points, n_parts, rng), np.tile(np.eye(P), (n_parts, 1, 1)))
    for _ in range(_EM_STEPS if n_parts > 1 else 1):
        shares = _shares(points, found)
        counts = shares.sum(0)
        some = np.maximum(counts, 1e-3)
        centers = (shares.T @ points) / some[:, None]
        scatters = np.empty((n_parts, P, P))
        scatters[:, rows, columns] = scatters[:, columns, rows] = shares.T @ products
        scatters -= counts[:, None, None] * centers[:, :, None] * centers[:, None]
        found = _Gaussians(some / some.sum(), centers, (scatters + common) / (counts + P + 2)[:, None, None])
    return found


def _seeds(points: np.ndarray, n_parts: int, rng: np.random.Generator) -> np.ndarray:
    """Points far from one another, drawn with a probability that grows with the distance to those drawn before."""
    chosen = [int(rng.integers(len(points)))]
    distances = ((points - points[chosen[0]]) ** 2).sum(1)
    while len(chosen) < n_parts:
        chosen.append(int(rng.choice(len(points), p=distances / distances.sum())))
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(1))
    return points[chosen].copy()


def _shares(points: np.ndarray, gaussians: _Gaussians) -> np.ndarray:
    """Responsibilities (B, G), from one product of matrices."""
    inverses = np.linalg.inv(np.linalg.cholesky(gaussians.covariances))
    G, P = gaussians.centers.shape
    offsets = (points @ inverses.reshape(G * P, P).T).reshape(-1, G, P)
    offsets -= np.einsum("gij,gj->gi", inverses, gaussians.centers)
    log_scale = np.log(np.diagonal(inverses, axis1=1, axis2=2)).sum(1)
    distances = np.einsum("bgp,bgp->bg", offsets, offsets)
    return scipy.special.softmax(np.log(gaussians.weights) + log_scale - 0.5 * distances, axis=1)
