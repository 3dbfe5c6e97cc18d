"""Undo label switching: give each draw the labels under which it agrees best with a pivot."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linear_sum_assignment

from .compiled import in_float64, padded_length
from .mixture import Mixture, responsibilities

_POINTS_FOR_AGREEMENT = 10_000
_DRAWS_AT_ONCE = 64


class Relabelling(NamedTuple):
    """Permutations (..., K) to hand to `Mixture.permute`, and how sure they are.

    `shares` (..., K) is the part of the pivot's component k, in points, that the matched component of the draw
    holds too; `ambiguous` (K,) is the fraction of draws in which that is less than one half.
    """

    permutations: np.ndarray
    shares: np.ndarray

    @property
    def ambiguous(self) -> np.ndarray:
        """Fraction of draws (K,) whose match for component k holds less than half of its points."""
        return (self.shares < 0.5).reshape(-1, self.shares.shape[-1]).mean(0)


def relabel(draws: Mixture, pivot: Mixture, x: np.ndarray) -> Relabelling:
    r"""Permutation of each draw that maximises the agreement of responsibilities with the pivot's.

    .. math:: \max_\rho \sum_k A_{k \rho(k)}, \qquad A_{jk} = \sum_n r^{pivot}_{nj} \, r^{draw}_{nk}

    Parameters
    ----------
    draws
        Mixtures with leading axes.
    pivot
        One mixture, whose labels the draws get.
    x : (N, D)
        Points; every so many of them when there are more than ten thousand.

    References
    ----------
    Stephens (2000), doi 10.1111/1467-9868.00265; Papastamoulis (2016), doi 10.18637/jss.v069.c01; the assignment
    problem: Crouse (2016), doi 10.1109/TAES.2016.140952 (scipy.optimize.linear_sum_assignment).
    """
    points = x[:: -(-len(x) // _POINTS_FOR_AGREEMENT)]
    reference = pivot.responsibilities(points)
    agreement = _agreement(draws, reference, points)
    flat = agreement.reshape(-1, *agreement.shape[-2:])
    permutations = np.array([linear_sum_assignment(matrix, maximize=True)[1] for matrix in flat])
    matched = np.take_along_axis(flat, permutations[..., None], -1)[..., 0]
    shape = agreement.shape[:-1]
    return Relabelling(permutations.reshape(shape), (matched / reference.sum(0)).reshape(shape))


@in_float64
def _agreement(draws: Mixture, reference: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Agreement matrices (..., K, K) of the pivot's components (rows) with each draw's (columns)."""
    batch = draws.log_weights.shape[:-1]
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *leaf.shape[len(batch) :])), draws)
    padding = ((0, padded_length(len(points)) - len(points)), (0, 0))
    # A padded point belongs to no component of the pivot, so it adds nothing.
    matrices = _agreements(flat, np.pad(reference, padding), np.pad(points, padding))
    return np.asarray(matrices).reshape(*batch, *matrices.shape[1:])


@jax.jit
def _agreements(draws: Mixture, reference: Float[Array, "N K"], points: Float[Array, "N D"]) -> Float[Array, "S K K"]:
    def one(draw: Mixture) -> Any:
        return reference.T @ jax.vmap(partial(responsibilities, draw))(points)

    return jax.lax.map(one, draws, batch_size=_DRAWS_AT_ONCE)
