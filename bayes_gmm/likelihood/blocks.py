"""Weighted points in unit coordinates, cut into blocks that fit the cache of a processor."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.likelihood.moments import n_statistics
from bayes_gmm.mixture.scaling import Scaling

_SIZES = (8, 32, 64, 192, 448)
"""Numbers of points of a block among which one is chosen where groups of points are small."""

_PRICE_OF_A_BLOCK = 64
"""Points whose pass takes as long as the step from one block to the next."""
_SMALL_BLOCK = 128
"""Points of a block of short tables that share a program."""


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
        Blocks from `first` to before `stop` are visited. Unused blocks at the end make M one of few numbers, so that
        tables of many lengths share a compiled program.
    """

    diagonal: ClassVar[bool] = False
    """Whether products of different features are not looked at, since covariances are diagonal."""

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    points: Annotated[Any, "M D B"]
    weights: Annotated[Any, "M B"]
    first: Annotated[Any, ""]
    stop: Annotated[Any, ""]

    def milliseconds(self, n_components: int) -> float:
        """Rough time of a pass over the data on one core."""
        n_features, size = self.points.shape[1:]
        nanoseconds = TUNING.nanoseconds + TUNING.nanoseconds_of_squares * n_features**2
        return 1e-6 * nanoseconds * n_components * size * int(self.stop - self.first)

    def parts(self, count: int) -> "list[Blocks]":
        """These blocks in `count` parts, or in as many as there are blocks if these are fewer."""
        first, stop = int(self.first), int(self.stop)
        bounds = np.linspace(first, stop, min(count, stop - first) + 1).astype(int)
        return [replace(self, first=begin, stop=end) for begin, end in pairwise(bounds)]


def blocks(
    x: Float[np.ndarray, "N D"],
    sample_weight: Float[np.ndarray, " N"],
    scaling: Scaling | None = None,
    n_rows: int = 0,
) -> Blocks:
    """Cut points (N, D) and their weights into blocks, and bring the points to unit coordinates by `scaling`.

    With `n_rows`, not fewer than there are, the blocks are small and as many as so many rows need: short tables of
    many lengths share a compiled program, and no time is spent on padding.
    """
    size = _SMALL_BLOCK if n_rows else _block_size(*x.shape)
    n_used = -(-len(x) // size)
    points = np.zeros((-(-n_rows // size) if n_rows else _block_count(n_used), x.shape[1], size))
    weights = np.zeros((len(points), size))
    for block in range(n_used):
        rows = slice(block * size, (block + 1) * size)
        z = x[rows] if scaling is None else scaling.points_to_unit(x[rows])
        points[block, :, : len(z)] = z.T
        weights[block, : len(z)] = sample_weight[rows]
    return Blocks(points=points, weights=weights, first=np.asarray(0), stop=np.asarray(n_used))


def grouped(
    z: Float[np.ndarray, "N D"],
    sample_weight: Float[np.ndarray, " N"],
    group: Int[np.ndarray, " N"],
    n_groups: int,
) -> tuple[Blocks, Int[np.ndarray, " N"], Int[np.ndarray, " G"], Int[np.ndarray, " G"]]:
    """Points (N, D) in unit coordinates in blocks none of which holds points of two groups.

    Returns
    -------
    blocks
        The blocks; points of group -1 are left out.
    places : (N,)
        Where each point stands among the points of all blocks, -1 for those that are left out.
    starts, stops : (G,)
        First block of each group, and the one after its last.
    """
    counts = np.bincount(group[group >= 0], minlength=n_groups)
    size = _common_size(counts, z.shape[1])
    stops = np.cumsum(-(-counts // size))
    starts = np.concatenate([[0], stops[:-1]])
    order = np.argsort(group, kind="stable")[(group < 0).sum() :]
    rank = np.arange(len(order)) - (np.cumsum(counts) - counts)[group[order]]
    places = np.full(len(z), -1)
    places[order] = starts[group[order]] * size + rank
    points = np.zeros((_block_count(max(int(stops[-1]), 1)) * size, z.shape[1]))
    weights = np.zeros(len(points))
    points[places[order]], weights[places[order]] = z[order], sample_weight[order]
    cut = np.ascontiguousarray(points.reshape(-1, size, z.shape[1]).mT)
    blocks = Blocks(points=cut, weights=weights.reshape(-1, size), first=np.asarray(0), stop=np.asarray(stops[-1]))
    return blocks, places, starts, stops


def _common_size(counts: Int[np.ndarray, " G"], n_features: int) -> int:
    """Points of a block for groups of these sizes: large blocks are quick, and much padding is slow."""
    sizes = [size for size in _SIZES if size < _largest_block(n_features)] + [_largest_block(n_features)]
    return min(sizes, key=lambda size: int((-(-counts // size)).sum()) * (size + _PRICE_OF_A_BLOCK))


def _block_size(n_points: int, n_features: int) -> int:
    """Points of a block: the largest size where there are many, fewer where the last block would be mostly padding."""
    largest = _largest_block(n_features)
    if n_points <= min(2 * largest, TUNING.thin_block):
        return padded_length(n_points)
    return largest if n_points >= 6 * largest else 64 * (min(largest // 2, TUNING.wide_block) // 64 | 1)


def _largest_block(n_features: int) -> int:
    if n_features <= TUNING.thin_features:
        return TUNING.thin_block
    return TUNING.medium_block if 50 < n_statistics(n_features) <= 256 else TUNING.wide_block


def _block_count(n_used: int) -> int:
    """Number of blocks that are stored: one, or a power of two from 4, or from 96 on also half as much again as one."""
    power = 1 << (n_used - 1).bit_length()
    if n_used > 64 and n_used <= 3 * power // 4:
        return 3 * power // 4
    return power if n_used == 1 else max(power, 4)
