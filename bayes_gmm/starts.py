"""Where EM begins: many random mixtures, or one that the user knows.

Everything here is in unit coordinates (`scaling`).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from .covariance import Structure
from .errors import ArgumentError
from .kernel import moments
from .linalg import vech
from .mixture import Mixture

_POINTS_FOR_SEEDING = 4096


def random_starts(
    seed: int, z: np.ndarray, sample_weight: np.ndarray, n_components: int, n_starts: int, structure: Structure
) -> Mixture:
    """Mixtures (R,) grown from k-means++ centres on a random subset of the points (N, D).

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA, 1027-1035.
    """
    rng = np.random.default_rng(seed)
    probabilities = sample_weight / sample_weight.sum()
    positive = int(np.count_nonzero(sample_weight))
    size = min(_POINTS_FOR_SEEDING, positive)
    chosen = rng.choice(len(z), size=size, replace=False, p=probabilities) if size < positive else probabilities > 0
    weights = np.ones(size) if size < positive else sample_weight[chosen]
    padding = (0, _POINTS_FOR_SEEDING - size)
    points = np.pad(z[chosen], (padding, (0, 0)))
    keys = jax.random.split(jax.random.key(seed), n_starts)
    return _starts(keys, points, np.pad(weights, padding), n_components, structure)


def start_from(
    start: Any, z: np.ndarray, sample_weight: np.ndarray, n_components: int, structure: Structure
) -> Mixture:
    """One mixture (1,) from labels (N,) or responsibilities (N, K)."""
    responsibilities = _responsibilities(np.asarray(start), len(z), n_components)
    mixture = _mixture(responsibilities.T * sample_weight, z, structure, pooled=0.0)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(mixture)):
        raise ArgumentError(
            "A component of the start has too few points to have a covariance.",
            f"at least {z.shape[1] + 1} points in general position for each component",
            "Merge that component with another, or start from responsibilities or a Mixture.",
        )
    return jax.tree.map(lambda leaf: leaf[None], mixture)


@partial(jax.jit, static_argnums=(3, 4))
def _starts(keys: Array, points: Array, weights: Array, n_components: int, structure: Structure) -> Mixture:
    return jax.vmap(lambda key: _grow(key, points, weights, n_components, structure))(keys)


def _grow(
    key: Array, points: Float[Array, "N D"], weights: Float[Array, " N"], n_components: int, structure: Structure
) -> Mixture:
    """Give each point to its nearest centre; covariances are shrunk to the one within all clusters."""
    centers = _plus_plus(key, points, weights, n_components)
    nearest = _squared_distances(points, centers).argmin(1)
    one_hot = jax.nn.one_hot(nearest, n_components, dtype=points.dtype).T
    return _mixture(one_hot * weights[None], points, structure, pooled=points.shape[1] + 2.0)


def _plus_plus(
    key: Array, points: Float[Array, "N D"], weights: Float[Array, " N"], n_components: int
) -> Float[Array, "K D"]:
    """Choose centres one by one, each with probability proportional to its squared distance to the others."""

    def choose(distances: Array, key: Array) -> tuple[Array, Array]:
        center = points[jax.random.categorical(key, jnp.log(weights) + jnp.log(distances))]
        return jnp.minimum(distances, ((points - center[None]) ** 2).sum(1)), center

    # Equally far from no centre at all, and farther than from any.
    unlimited = jnp.full_like(weights, np.finfo(weights.dtype).max)
    return jax.lax.scan(choose, unlimited, jax.random.split(key, n_components))[1]


def _squared_distances(points: Float[Array, "N D"], centers: Float[Array, "K D"]) -> Float[Array, "N K"]:
    return ((points[:, None] - centers[None]) ** 2).sum(2)


def _mixture(shares: Any, points: Any, structure: Structure, *, pooled: float) -> Mixture:
    """M-step on shares (K, N); `pooled` pseudo-counts carry the within-cluster covariance of all."""
    squares = vech(points[:, :, None] * points[:, None, :])
    phi = jnp.concatenate([jnp.ones_like(points[:, :1]), points, squares], 1)
    counts, means, covariances = moments(shares @ phi, points.shape[1])
    scatter = counts[:, None, None] * covariances
    within = scatter.sum(0) / counts.sum()
    shrunk = structure.estimate(counts + pooled, scatter + pooled * within[None])
    return Mixture(log_weights=jnp.log(counts / counts.sum()), means=means, scale_tril=jnp.linalg.cholesky(shrunk))


def _responsibilities(start: np.ndarray, n_points: int, n_components: int) -> np.ndarray:
    if start.shape == (n_points,) and np.issubdtype(start.dtype, np.integer):
        return _one_hot(start, n_components)
    if start.shape == (n_points, n_components) and np.issubdtype(start.dtype, np.number):
        if np.isfinite(start).all() and (start >= 0).all() and np.allclose(start.sum(1), 1):
            return start.astype(np.float64)
    raise ArgumentError(
        f"The start has shape {start.shape} and type {start.dtype}.",
        f"a Mixture, {n_points} integer labels, or responsibilities of shape ({n_points}, {n_components}) "
        "whose rows sum to one",
        "Leave start out to begin from n_starts random mixtures.",
    )


def _one_hot(labels: Int[np.ndarray, " N"], n_components: int) -> np.ndarray:
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(n_components)):
        raise ArgumentError(
            f"The labels of the start are {present.tolist()}.",
            f"each of 0 to {n_components - 1} at least once",
            "Number the groups from 0, one for each component.",
        )
    return np.eye(n_components)[labels]
