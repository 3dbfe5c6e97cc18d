"""Weighted points in unit coordinates, in blocks that fit the cache of a processor."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.mixture.scaling import Scaling

_THIN = 2
"""Number of features up to which matrix products are slower than sums of products."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Weighted points in unit coordinates, in blocks of points that fit the processor's cache.

    Attributes
    ----------
    points : (M, D, B)
        M blocks of B points; a feature of a block is contiguous. Padding is zero.
    weights : (M, B)
        Weight of each point; zero for padding.
    first, stop
        Blocks from `first` to before `stop` are visited. What is left at the end makes M one of few numbers, so that
        tables of many lengths share a compiled program.
    """

    points: Any
    weights: Any
    first: Any
    stop: Any

    def milliseconds(self, n_components: int) -> float:
        """What a pass takes on one core, roughly: as measured on an Intel Xeon of 2023."""
        n_features, size = self.points.shape[1:]
        return 1e-6 * (4 + 0.06 * n_features**2) * n_components * size * int(self.stop - self.first)

    def parts(self, count: int) -> "list[Blocks]":
        """The same blocks in so many parts, or in as many as there are blocks."""
        first, stop = int(self.first), int(self.stop)
        bounds = np.linspace(first, stop, min(count, stop - first) + 1).astype(int)
        return [replace(self, first=begin, stop=end) for begin, end in pairwise(bounds)]


def blocks(x: np.ndarray, sample_weight: np.ndarray, scaling: Scaling | None = None) -> Blocks:
    """Bring points (N, D) to unit coordinates, unless they are there, and cut them and their weights into blocks."""
    size = _block_size(*x.shape)
    n_used = -(-len(x) // size)
    points = np.zeros((_block_count(n_used), x.shape[1], size))
    weights = np.zeros((len(points), size))
    for block in range(n_used):
        rows = slice(block * size, (block + 1) * size)
        z = x[rows] if scaling is None else scaling.points_to_unit(x[rows])
        points[block, :, : len(z)] = z.T
        weights[block, : len(z)] = sample_weight[rows]
    return Blocks(points=points, weights=weights, first=np.asarray(0), stop=np.asarray(n_used))


def n_statistics(n_features: int) -> int:
    """Number F of sufficient statistics of a point."""
    return 1 + n_features + n_features * (n_features + 1) // 2


def _block_size(n_points: int, n_features: int) -> int:
    """Points per block: as measured, and an odd multiple of 64 so that rows do not collide in the cache."""
    # Matrix products that are large enough to be shared among threads lose more by that than they gain.
    largest = 4416 if n_features <= _THIN else 704 if 50 < n_statistics(n_features) <= 256 else 1088
    if n_points <= min(2 * largest, 4416):
        return padded_length(n_points)
    # A last block of the largest size would be mostly padding.
    return largest if n_points >= 6 * largest else 64 * (min(largest // 2, 1088) // 64 | 1)


def _block_count(n_used: int) -> int:
    """One, or the smallest power of two from 4 that is not below `n_used`; beyond 64 also half as much again as one."""
    power = 1 << (n_used - 1).bit_length()
    if n_used > 64 and n_used <= 3 * power // 4:
        return 3 * power // 4
    return power if n_used == 1 else max(power, 4)
