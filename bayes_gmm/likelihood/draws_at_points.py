r"""Responsibilities of the components of many draws for many points, summed over the points or over the draws.

An array of points x draws x components would fill gigabytes, so the sums are taken while the responsibilities are
computed: a few draws at a time, by matrix products of features and natural parameters (`linear_form`).
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
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.likelihood.linear_form import Assignment, features, natural, soft
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


class DrawsAtPoints(NamedTuple):
    """Draws and points in unit coordinates, padded to lengths that share compiled programs.

    Attributes
    ----------
    natural : (S, K, F)
        Natural parameters of the draws; padding repeats the last draw.
    points : (N, D)
        Points; padding is zero.
    n_draws, n_points
        Numbers of draws and of points without the padding.
    """

    natural: Float[Any, "S K F"]
    points: Float[Any, "N D"]
    n_draws: int
    n_points: int


def at_points(draws: Mixture, x: Float[np.ndarray, "N D"], scaling: Scaling | None = None) -> DrawsAtPoints:
    """Bring draws with leading axes (flattened to S) and points (N, D) to unit coordinates, and pad both.

    The unit coordinates are those of the points, unless others are given.
    """
    n_batch = draws.log_weights.ndim - 1
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[n_batch:])), draws)
    n_draws, scaling = len(flat.log_weights), scaling or Scaling.whitening(x, np.ones(len(x)))
    padded = jax.tree.map(partial(_pad, mode="edge"), scaling.to_unit(flat))
    return DrawsAtPoints(_naturals(padded), _pad(scaling.points_to_unit(x), mode="constant"), n_draws, len(x))


@in_float64
def agreements(
    draws: DrawsAtPoints, reference: Float[np.ndarray, "N J"], assignment: Assignment = soft
) -> Float[np.ndarray, "S J K"]:
    r"""Sums over the points of a reference (rows) times the responsibilities of each draw's components (columns).

    .. math:: A_{s,jk} = \sum_n g_{nj} \, r^{(s)}_{nk}

    Parameters
    ----------
    draws
        S draws at N points.
    reference : (N, J)
        Weights of the responsibilities: assignments, or logarithms of assignments.
    assignment
        `soft` for responsibilities, `hard` for the most probable component alone.

    Returns
    -------
    np.ndarray, (S, J, K)
        Exact but for rounding: no point is left out.
    """
    padded = _pad(reference, mode="constant")  # zeros, so that a padded point adds nothing
    sums = _agreements(draws.natural, draws.points, padded, assignment)
    return np.asarray(sums)[: draws.n_draws].mT


@in_float64
def mean_shares(draws: DrawsAtPoints, permutations: Int[np.ndarray, "S K"]) -> Float[np.ndarray, "N K"]:
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
    return lax.map(lambda eta: assignment(eta @ phi, ones)[1] @ reference, etas, batch_size=TUNING.draws_at_once)


@jax.jit
def _mean_shares(etas: Float[Array, "S K F"], points: Float[Array, "N D"], n_draws: Any) -> Float[Array, "K N"]:
    phi, ones = features(points.T), jnp.ones(len(points))

    def add(number: Any, total: Array) -> Array:
        return total + soft(etas[number] @ phi, ones)[1]

    return lax.fori_loop(0, n_draws, add, jnp.zeros((etas.shape[1], len(points)))) / n_draws
