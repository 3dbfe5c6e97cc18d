r"""Means over the points of a mixture by Monte Carlo, in strata: each component gets its share of the points.

That leaves only the scatter within components,

.. math:: \hat f = \sum_k \pi_k \bar f_k, \qquad \mathrm{se}^2 = \sum_k \pi_k^2 s_k^2 / n_k.

References
----------
Cochran (1977), Sampling Techniques, isbn 978-0-471-16240-7, chapter 5.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.core.validation import positive_integer, seed_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.mixture import Mixture

type Integrand = Callable[..., Callable[[Array], Array]]
"""From one or more mixtures to the function of a point that is averaged over the first of them."""

_LEAST_POINTS = 2
"""Points of each component: fewer have no scatter."""


class Estimate(NamedTuple):
    """Monte Carlo estimate.

    Attributes
    ----------
    value : (...)
        Unbiased estimate, one for each mixture of a batch.
    standard_error : (...)
        Its standard deviation over seeds, as the scatter of the points tells it.
    """

    value: Float[Any, "*batch"]
    standard_error: Float[Any, "*batch"]


def stratified(
    integrand: Integrand, mixtures: tuple[Mixture, ...], batch: tuple[int, ...], n_points: Any, seed: Any
) -> Estimate:
    """Mean of a function over points of the first of the mixtures, for each element of the batch.

    Raises
    ------
    ArgumentError
        When n_points or the seed cannot be used.
    """
    count = positive_integer("n_points", n_points)
    flat = tuple(flatten(mixture, batch) for mixture in mixtures)
    counts = _shares(np.exp(flat[0].log_weights), count)
    parts = _map_stratified(integrand, count, flat, counts, seed_integer(seed))
    return Estimate(*(shaped(part, batch) for part in parts))


def _shares(weights: Float[np.ndarray, "B K"], n_points: int) -> Int[np.ndarray, "B K"]:
    """Points of each component: the fewest that show scatter, the others by weight, largest remainders rounded up."""
    K = weights.shape[-1]
    to_share = n_points - _LEAST_POINTS * K
    if to_share < 0:
        raise ArgumentError(
            f"n_points is {n_points} for {K} components.",
            f"at least {_LEAST_POINTS} for each component, {_LEAST_POINTS * K}",
            "The error falls with the square root of n_points: 10000 is a good start.",
        )
    whole, remainder = np.divmod(weights / weights.sum(-1, keepdims=True) * to_share, 1)
    left = to_share - whole.sum(-1, keepdims=True)
    rank = np.argsort(np.argsort(-remainder, -1), -1)
    return _LEAST_POINTS + (whole + (rank < left)).astype(int)


@in_float64
def _map_stratified(
    integrand: Integrand, n_points: int, mixtures: tuple[Mixture, ...], counts: np.ndarray, seed: int
) -> tuple[Array, Array]:
    keys = jax.random.split(jax.random.key(seed), len(counts))
    return _map_batch(integrand, n_points, mixtures, counts, keys)


@partial(jax.jit, static_argnums=(0, 1))
def _map_batch(
    integrand: Integrand, n_points: int, mixtures: tuple[Mixture, ...], counts: Array, keys: Array
) -> tuple[Array, Array]:
    def one(element: Any) -> tuple[Array, Array]:
        own, own_counts, key = element
        return _stratified_mean(integrand(*own), n_points, own[0], own_counts, key)

    return jax.lax.map(one, (mixtures, counts, keys))


def _stratified_mean(
    function: Callable[[Array], Array], n_points: int, mixture: Mixture, counts: Int[Array, " K"], key: Array
) -> tuple[Array, Array]:
    """Mean of a function of points from one mixture, and its standard error."""
    K, D = mixture.means.shape
    labels = jnp.repeat(jnp.arange(K), counts, total_repeat_length=n_points)
    noise = jax.random.normal(key, (n_points, D))

    def at(draw: tuple[Array, Array]) -> Array:
        label, z = draw
        return function(mixture.means[label] + mixture.scale_tril[label] @ z)

    values = jax.lax.map(at, (labels, noise), batch_size=min(TUNING.points_of_a_program, n_points))
    total = partial(jax.ops.segment_sum, segment_ids=labels, num_segments=K)
    means = total(values) / counts
    variances = total((values - means[labels]) ** 2) / (counts - 1)
    weights = mixture.weights
    return weights @ means, jnp.sqrt(weights**2 @ (variances / counts))


def flatten(mixture: Mixture, batch: tuple[int, ...]) -> Mixture:
    """Broadcast a mixture to a batch, with one leading axis instead of all the axes of the batch."""
    own = mixture.log_weights.ndim - 1

    def one_axis(leaf: Any) -> np.ndarray:
        tail = leaf.shape[own:]
        return np.broadcast_to(leaf, (*batch, *tail)).reshape(-1, *tail)

    return jax.tree.map(one_axis, mixture)


def shaped(values: Any, batch: tuple[int, ...]) -> Any:
    """Restore the axes of the batch; one number is a number."""
    return values.reshape(batch)[()]
