"""Running means of expected statistics: the compiled steps of EM on a stream.

Everything here is in unit coordinates (`scaling`), and statistics are for each point.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import kernel
from .collapse import is_sound
from .compiled import in_float64, padded_length
from .covariance import Structure
from .kernel import Blocks
from .mixture import Mixture
from .scaling import Scaling
from .stream_fit import StreamStatus


class State(NamedTuple):
    """What is learned, in unit coordinates: running means, and the sums of them over the present and the last window.

    Windows double: when the present one has become as long as all that came before it, it becomes the last.
    """

    mixture: Any
    statistics: Any
    present: Any
    n_present: Any
    last: Any
    n_last: Any
    status: Any


class Move(NamedTuple):
    """How far to go towards a batch, and what becomes of the average."""

    size: float
    averaged: bool
    turn: bool


@in_float64
def empty(start: Mixture, scaling: Scaling) -> State:
    """State before the first batch, at a mixture in data units."""
    unit = scaling.to_unit(start)
    nothing, zero = jnp.zeros_like(kernel.natural(unit)), jnp.array(0.0)
    status = jnp.array(int(StreamStatus.LEARNED))
    return State(unit, nothing, nothing, zero, nothing, zero, status)


def padded_blocks(points: np.ndarray) -> Blocks:
    """Points (n, D) in blocks whose shapes are those of all batches of the same padded length."""
    padding = (0, padded_length(len(points)) - len(points))
    return kernel.blocks(np.pad(points, (padding, (0, 0))), np.pad(np.ones(len(points)), padding))


@in_float64
@partial(jax.jit, static_argnums=5)
def learn(
    state: State, data: Blocks, move: Move, scaling: Scaling, smallest_scale: Array | float, structure: Structure
) -> tuple[State, Array]:
    """One step, or none when it leads to a collapse; and the mean log density in data units before it."""
    n_points = data.weights.sum()
    value, found = kernel.expected_statistics(kernel.natural(state.mixture), data)
    statistics = state.statistics + move.size * (found / n_points - state.statistics)
    mixture = _m_step(statistics, state.mixture.n_features, structure)
    status = jnp.select(
        [~jnp.isfinite(value), ~is_sound(mixture, smallest_scale)],
        [int(StreamStatus.NONFINITE), int(StreamStatus.COLLAPSED)],
        int(StreamStatus.LEARNED),
    )
    moved = _average(state, statistics, move)._replace(mixture=mixture, statistics=statistics)
    keep = partial(jnp.where, status == StreamStatus.LEARNED)
    return jax.tree.map(keep, moved, state)._replace(status=status), value / n_points - scaling.log_volume


def _m_step(statistics: Float[Array, "K F"], n_features: int, structure: Structure) -> Mixture:
    counts, means, covariances = kernel.moments(statistics, n_features)
    covariances = structure.estimate(counts, counts[:, None, None] * covariances)
    return Mixture(log_weights=jnp.log(counts / counts.sum()), means=means, scale_tril=jnp.linalg.cholesky(covariances))


def _average(state: State, statistics: Array, move: Move) -> State:
    present, n_present = jnp.where(move.turn, 0.0, state.present), jnp.where(move.turn, 0.0, state.n_present)
    return state._replace(
        last=jnp.where(move.turn, state.present, state.last),
        n_last=jnp.where(move.turn, state.n_present, state.n_last),
        present=present + jnp.where(move.averaged, statistics, 0.0),
        n_present=n_present + move.averaged,
    )


@in_float64
@partial(jax.jit, static_argnums=3)
def average_mixture(state: State, scaling: Scaling, smallest_scale: Array | float, structure: Structure) -> Mixture:
    """Mixture of the averaged statistics in data units; of the last ones when there is no average."""
    mean = (state.present + state.last) / (state.n_present + state.n_last)
    averaged = _m_step(mean, state.mixture.n_features, structure)
    keep = partial(jnp.where, is_sound(averaged, smallest_scale))
    return scaling.to_data(jax.tree.map(keep, averaged, state.mixture))
