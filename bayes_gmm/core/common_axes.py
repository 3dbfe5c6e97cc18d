r"""Axes that several symmetric matrices are to share, turned plane by plane.

.. math:: f(A) = \sum_k \sum_i a_i^\top W_k a_i / s_{ki}, \qquad A = (a_1, \ldots, a_D) \text{ orthogonal}

References
----------
Flury and Gautschi (1986), doi 10.1137/0907013.
"""

from functools import cache
from typing import Any

import jax
import numpy as np
from jax import lax
from jaxtyping import Float

from bayes_gmm.core.linalg import namespace


def turn_axes(axes: Any, precisions: Any, scatters: Any) -> Any:
    """Axes (..., D, D), in columns, after a rotation in the plane of each pair of them, each to the minimum of f.

    Precisions (..., K, D) are those of each matrix along the axes. Pairs that share no axis turn at once.
    """
    rounds = _disjoint_pairs(axes.shape[-1])
    if isinstance(axes, jax.Array):
        return lax.scan(lambda axes, pairs: (_turn(axes, pairs, precisions, scatters), None), axes, rounds)[0]
    for pairs in rounds:
        axes = _turn(axes, pairs, precisions, scatters)
    return axes


@cache
def _disjoint_pairs(n_features: int) -> Float[np.ndarray, "rounds 2 M D"]:
    """Sets of pairs of axes in which each meets each other once: rows of the identity for the first and the second."""
    n_players = n_features + n_features % 2
    others = np.arange(1, n_players)
    identity = np.eye(n_features)
    rounds = []
    for shift in range(n_players - 1):
        circle = np.concatenate([[0], np.roll(others, shift)])
        pairs = np.sort(np.stack([circle, circle[::-1]])[:, : n_players // 2], 0)
        rounds.append(identity[pairs[:, pairs[1] < n_features]])  # who meets the one that is not there rests
    return np.stack(rounds)


def _turn(axes: Any, pairs: Any, precisions: Any, scatters: Any) -> Any:
    r"""Rotate the two axes of each pair in their plane to the minimum of f for given variances.

    There f is, but for a constant, u'Tu with T = sum_k (1 / s_ki - 1 / s_kj) W_k and u the first of the two axes.
    """
    xp, (first, second) = namespace(axes), pairs
    weights = (precisions @ (first - second).T).mT
    flat = scatters.reshape(*scatters.shape[:-2], -1)
    total = (weights @ flat).reshape(*weights.shape[:-1], *scatters.shape[-2:])
    u, v = first @ axes.mT, second @ axes.mT
    image, other_image = ((total @ one[..., None])[..., 0] for one in (u, v))
    across, along, other = xp.vecdot(v, image), xp.vecdot(u, image), xp.vecdot(v, other_image)
    angle = xp.arctan2(-2 * across, other - along)[..., None] / 2
    cosine, sine = xp.cos(angle), xp.sin(angle)
    moved = (cosine - 1) * u + sine * v, (cosine - 1) * v - sine * u
    return axes + moved[0].mT @ first + moved[1].mT @ second
