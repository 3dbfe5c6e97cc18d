r"""How the points are shared out under each of many draws, summed over the points or over the draws.

The shares of points x draws x components would fill gigabytes, so what is wanted of them is summed as they are made:
a few draws at a time, by matrix products of the kernel's features and natural parameters.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood.linear_form import Assignment, features, natural, soft
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

_DRAWS_AT_ONCE = 4  # as measured: their shares of ten thousand points still fit the processor's cache


class DrawsAtPoints(NamedTuple):
    """Draws and points, both padded, in unit coordinates and ready for the kernel.

    Attributes
    ----------
    natural : (S, K, F)
        Natural parameters of the draws; padding repeats the last draw.
    points : (N, D)
        Points; padding is zero.
    n_draws, n_points
        How many of each are no padding.
    """

    natural: Any
    points: Any
    n_draws: int
    n_points: int


def at_points(draws: Mixture, x: np.ndarray, scaling: Scaling | None = None) -> DrawsAtPoints:
    """Bring draws with leading axes (flattened to S) and points (N, D) to unit coordinates, and pad both.

    The unit coordinates are those of the points, unless others are given.
    """
    n_batch = draws.log_weights.ndim - 1
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[n_batch:])), draws)
    n_draws, scaling = len(flat.log_weights), scaling or Scaling.whitening(x, np.ones(len(x)))
    padded = jax.tree.map(partial(_pad, mode="edge"), scaling.to_unit(flat))
    return DrawsAtPoints(_naturals(padded), _pad(scaling.points_to_unit(x), mode="constant"), n_draws, len(x))


@in_float64
def agreements(draws: DrawsAtPoints, reference: np.ndarray, assignment: Assignment = soft) -> np.ndarray:
    r"""Sums over the points of a reference (rows) times the shares of each draw's components (columns).

    .. math:: A_{s,jk} = \sum_n g_{nj} \, r^{(s)}_{nk}

    Parameters
    ----------
    draws
        S draws at N points.
    reference : (N, J)
        What the shares are weighed by: assignments, or logarithms of such.
    assignment
        `soft` for responsibilities, `hard` for the most probable component alone.

    Returns
    -------
    np.ndarray, (S, J, K)
        Exact but for rounding: no point is left out.
    """
    padded = _pad(reference, mode="constant")  # a padded point belongs to nobody, so it adds nothing
    sums = _agreements(draws.natural, draws.points, padded, assignment)
    return np.asarray(sums)[: draws.n_draws].mT


@in_float64
def mean_shares(draws: DrawsAtPoints, permutations: Int[np.ndarray, "S K"]) -> np.ndarray:
    r"""Mean over the draws of the responsibilities (N, K), with the components of each draw permuted.

    .. math:: \bar r_{nk} = \frac{1}{S} \sum_s r^{(s)}_{n \rho_s(k)}
    """
    permuted = np.take_along_axis(draws.natural, _pad(permutations, mode="edge")[..., None], 1)
    return np.asarray(_mean_shares(permuted, draws.points, draws.n_draws))[:, : draws.n_points].T


def _pad(rows: np.ndarray, mode: Any) -> np.ndarray:
    return np.pad(rows, ((0, padded_length(len(rows)) - len(rows)), *[(0, 0)] * (rows.ndim - 1)), mode=mode)


@in_float64
@jax.jit
def _naturals(draws: Mixture) -> Float[Array, "S K F"]:
    return jax.vmap(natural)(draws)


@partial(jax.jit, static_argnums=3)
def _agreements(
    etas: Float[Array, "S K F"], points: Float[Array, "N D"], reference: Float[Array, "N J"], assignment: Assignment
) -> Float[Array, "S K J"]:
    phi, ones = features(points.T), jnp.ones(len(points))
    return lax.map(lambda eta: assignment(eta @ phi, ones)[1] @ reference, etas, batch_size=_DRAWS_AT_ONCE)


@jax.jit
def _mean_shares(etas: Float[Array, "S K F"], points: Float[Array, "N D"], n_draws: Any) -> Float[Array, "K N"]:
    phi, ones = features(points.T), jnp.ones(len(points))

    def add(number: Any, total: Array) -> Array:
        return total + soft(etas[number] @ phi, ones)[1]

    return lax.fori_loop(0, n_draws, add, jnp.zeros((etas.shape[1], len(points)))) / n_draws
