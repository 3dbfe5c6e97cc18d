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


def fit_t_mixture(points: Float[np.ndarray, "B P"], n_parts: int, rng: np.random.Generator) -> TMixture:
    """Mixture whose parts are Gaussians fitted to points by EM, widened, their covariances drawn to the common one."""
    P = points.shape[1]
    pooled = np.cov(points.T).reshape(P, P)
    pooled += 1e-9 * np.diag(np.diagonal(pooled))
    centers, covariances = _seeds(points, pooled, n_parts, rng), np.array([pooled] * n_parts)
    weights = np.full(n_parts, 1 / n_parts)
    for _ in range(_EM_STEPS if n_parts > 1 else 1):
        shares = _shares(points, weights, centers, covariances)
        counts = shares.sum(0)
        weights = np.maximum(counts, 1e-3) / np.maximum(counts, 1e-3).sum()
        centers = (shares.T @ points) / np.maximum(counts, 1e-300)[:, None]
        offsets = (points[None] - centers[:, None]) * np.sqrt(shares.T)[..., None]
        scatters = offsets.mT @ offsets
        covariances = (scatters + (P + 2) * pooled / n_parts ** (2 / P)) / (counts + P + 2)[:, None, None]
    factors = _WIDER * np.linalg.cholesky(covariances)
    unused = MOST_PARTS - n_parts
    with np.errstate(divide="ignore"):
        log_weights = np.log(np.concatenate([weights, np.zeros(unused)]))
    factors = np.concatenate([factors, np.tile(np.eye(P), (unused, 1, 1))])
    return TMixture(log_weights, np.concatenate([centers, np.zeros((unused, P))]), factors, np.linalg.inv(factors))


def _seeds(points: np.ndarray, pooled: np.ndarray, n_parts: int, rng: np.random.Generator) -> np.ndarray:
    """Points far from one another, drawn with a probability that grows with the distance to those drawn before."""
    unit = np.linalg.solve(np.linalg.cholesky(pooled), points.T).T
    chosen = [int(rng.integers(len(points)))]
    while len(chosen) < n_parts:
        distances = ((unit[:, None] - unit[chosen]) ** 2).sum(-1).min(1)
        chosen.append(int(rng.choice(len(points), p=distances / distances.sum())))
    return points[chosen].copy()


def _shares(points: np.ndarray, weights: np.ndarray, centers: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Responsibilities (B, G)."""
    inverses = np.linalg.inv(np.linalg.cholesky(covariances))
    offsets = (points[None] - centers[:, None]) @ inverses.mT
    log_scale = np.log(np.diagonal(inverses, axis1=1, axis2=2)).sum(1)
    return scipy.special.softmax(np.log(weights) + log_scale - 0.5 * (offsets**2).sum(-1).T, axis=1)
