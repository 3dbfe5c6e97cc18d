"""The metric: coordinates that a triangular factor of the covariance standardises, and how it is found.

Where no mode tells it, it is the covariance of a chain's own draws, in longer and longer windows of its warm-up.

References
----------
Stan Reference Manual, section on adaptation: the sizes of the windows, and the weight of the identity.
"""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.bayes.laplace_approximation import Laplace
from bayes_gmm.sampling.kernel import ChainState, Point
from bayes_gmm.sampling.step_size import untuned

_FIRST, _WINDOW, _LAST = 75, 25, 50
"""Transitions before the first window, in it, and after the last one."""

_PRIOR_DRAWS, _PRIOR_VARIANCE = 5, 1e-3
"""A multiple of the identity counts as so many draws, so that few draws give a metric."""


_BLOCKS, _ROWS = 8, 32
"""Blocks of rows of a factor, but not smaller ones: of eight, 7 / 16 of the factor is never read."""


def upper_triangular(around: Laplace) -> Laplace:
    """The same covariance (C, P, P) by factors that are zero below the diagonal, as those of `laplace` are already."""
    if not np.tril(around.factor, -1).any():
        return around
    reverse = around.factor[..., ::-1, :]
    factor = np.linalg.cholesky(reverse @ np.swapaxes(reverse, -1, -2))[..., ::-1, ::-1]
    return around._replace(factor=factor)


def multiply(factor: Float[Any, "P P"]) -> Any:
    """The product of an upper triangular factor with a vector, as a function that reads little more than the triangle.

    In many dimensions the factor does not fit into the fast memory, and to read it takes as long as the density does.
    """
    size = len(factor)
    edges = np.linspace(0, size, max(1, min(_BLOCKS, size // _ROWS)) + 1).astype(int)
    blocks = [(start, factor[start:stop, start:]) for start, stop in itertools.pairwise(edges)]

    def product(vector: Float[Array, " P"]) -> Float[Array, " P"]:
        return jnp.concatenate([block @ vector[start:] for start, block in blocks])

    return product


def windows(num_warmup: int) -> list[range]:
    """Transitions of the windows of a warm-up, each twice as long as the one before, the last as long as there is room.

    A warm-up too short for one has none.
    """
    found, size, last = [range(_FIRST, _FIRST + _WINDOW)], 2 * _WINDOW, num_warmup - _LAST
    while (end := found[-1].stop + size) + 2 * size <= last:
        found.append(range(found[-1].stop, end))
        size *= 2
    if last > found[-1].stop:
        found.append(range(found[-1].stop, last))
    return [window for window in found if window.stop <= last]


def adapted(around: Laplace, state: ChainState, draws: Float[np.ndarray, "S P"]) -> tuple[Laplace, ChainState]:
    """Coordinates in which the draws (S, P) of a window are standardised, and the chain in them, to be tuned anew."""
    standardised = np.linalg.solve(around.factor, (draws - around.mode).T)
    size, own = len(draws), np.atleast_2d(np.cov(standardised))
    covariance = (size * own + _PRIOR_DRAWS * _PRIOR_VARIANCE * np.eye(len(own))) / (size + _PRIOR_DRAWS)
    triangle = np.linalg.cholesky(covariance[::-1, ::-1])[::-1, ::-1]
    here = state.point
    moved = Point(np.linalg.solve(triangle, here.offset), here.potential, triangle.T @ here.slope)
    return around._replace(factor=around.factor @ triangle), state._replace(point=moved, step=untuned(state.step.size))
