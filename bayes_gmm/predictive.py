"""What many draws of a mixture say about points: densities, soft assignments and their spread over the draws.

A draw's log joint densities are its natural parameters times the features of the points (`kernel`), so that thousands
of draws at thousands of points are matrix products. Memory is bounded: where a result would hold a number for each
draw and point, points are taken some at a time.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from . import kernel
from .compiled import in_float64, padded_length
from .mixture import Mixture
from .scaling import Scaling

_DRAWS_AT_ONCE = 16
_NUMBERS_AT_ONCE = 10**7


def flatten(draws: Mixture) -> Mixture:
    """The same mixtures with one leading axis."""
    batch = draws.log_weights.ndim - 1
    return jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *np.shape(leaf)[batch:])), draws)


def log_densities(draws: Mixture, x: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Log density of each draw at each point, (..., N)."""
    values = _log_densities(flatten(draws), x, scaling)[:, : len(x)]
    return np.asarray(values).reshape(*draws.log_weights.shape[:-1], len(x))


def assignment_moments(draws: Mixture, x: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all draws of the responsibilities of each point, (N, K) each."""
    mean, sd = _moments(flatten(draws), x, scaling)
    return mean[: len(x)], sd[: len(x)]


def log_predictive_density(draws: Mixture, x: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Log of the density averaged over all draws, (N,)."""
    n_draws = flatten(draws).log_weights.shape[0]
    parts = (log_densities(flatten(draws), part, scaling) for part in _in_parts(x, n_draws))
    return np.concatenate([np.logaddexp.reduce(part, axis=0) for part in parts]) - np.log(n_draws)


def density_band(draws: Mixture, x: np.ndarray, scaling: Scaling, probability: float) -> tuple[np.ndarray, ...]:
    """Mean over the draws of the density at each point, and the ends of its central interval, (N,) each."""
    tails = [(1 - probability) / 2, (1 + probability) / 2]
    found = []
    for part in _in_parts(x, flatten(draws).log_weights.shape[0]):
        densities = np.exp(log_densities(flatten(draws), part, scaling))
        found.append([densities.mean(0), *np.quantile(densities, tails, axis=0)])
    mean, lower, upper = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return mean, lower, upper


def _in_parts(x: np.ndarray, n_draws: int) -> list[np.ndarray]:
    size = max(1, _NUMBERS_AT_ONCE // n_draws)
    return [x[start : start + size] for start in range(0, len(x), size)]


@in_float64
def _log_densities(draws: Mixture, x: np.ndarray, scaling: Scaling) -> Any:
    return _map_log_density(draws, _padded(x, scaling), scaling)


@in_float64
def _moments(draws: Mixture, x: np.ndarray, scaling: Scaling) -> Any:
    return _assignment_moments(draws, _padded(x, scaling), scaling)


def _padded(x: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Points in unit coordinates, the last one repeated so that tables of many lengths share a program."""
    return np.pad(scaling.points_to_unit(x), ((0, padded_length(len(x)) - len(x)), (0, 0)), mode="edge")


@jax.jit
def _map_log_density(draws: Mixture, points: Array, scaling: Scaling) -> Float[Array, "S N"]:
    phi, constant = kernel.features(points.T), scaling.log_volume

    def one(draw: Mixture) -> Array:
        return jax.nn.logsumexp(kernel.natural(scaling.to_unit(draw)) @ phi, axis=0) - constant

    return lax.map(one, draws, batch_size=min(_DRAWS_AT_ONCE, len(draws.log_weights)))


@jax.jit
def _assignment_moments(draws: Mixture, points: Array, scaling: Scaling) -> tuple[Array, Array]:
    phi = kernel.features(points.T)

    def add(sums: tuple[Array, Array], draw: Mixture) -> tuple[tuple[Array, Array], None]:
        shares = jax.nn.softmax(kernel.natural(scaling.to_unit(draw)) @ phi, axis=0)
        return (sums[0] + shares, sums[1] + shares**2), None

    n_draws = len(draws.log_weights)
    zero = jnp.zeros((draws.n_components, len(points)))
    (total, squares), _ = lax.scan(add, (zero, zero), draws)
    mean = total / n_draws
    return mean.T, jnp.sqrt(jnp.maximum(squares / n_draws - mean**2, 0.0)).T
