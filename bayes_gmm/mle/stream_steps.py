"""Running means of expected statistics: the compiled steps of EM on a stream.

Everything here is in unit coordinates (`scaling`), and statistics are means over points.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.complete_rows import CompleteRows, prepare
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.mle.status import StreamStatus
from bayes_gmm.objective.degeneracy import is_sound
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem


class State(NamedTuple):
    """State of the learning, in unit coordinates: running means, and their sums over the present and the last window.

    Windows double: when the present one has become as long as all windows before it, it becomes the last.
    """

    mixture: Mixture
    statistics: Float[Any, "K F"]
    present: Float[Any, "K F"]
    n_present: Float[Any, ""]
    last: Float[Any, "K F"]
    n_last: Float[Any, ""]
    status: Int[Any, ""]


class Move(NamedTuple):
    """Step size towards a batch, whether it enters the average, and whether a new window begins with it."""

    size: float
    averaged: bool
    turn: bool


@in_float64
def empty(start: Mixture, scaling: Scaling) -> State:
    """State before the first batch, at a mixture in data units."""
    unit = scaling.to_unit(start)
    nothing, zero = jnp.zeros(jax.eval_shape(linear_form.natural, unit).shape), jnp.array(0.0)
    status = jnp.array(int(StreamStatus.LEARNED))
    return State(unit, nothing, nothing, zero, nothing, zero, status)


@in_float64
def m_step_of(problem: Problem) -> Objective:
    """The problem's M-step, without its data."""
    return problem.objective().without_data()


def padded_blocks(points: np.ndarray) -> CompleteRows:
    """Points (n, D) in blocks whose shapes are those of all batches of the same padded length."""
    padding = (0, padded_length(len(points)) - len(points))
    return prepare(np.pad(points, (padding, (0, 0))), np.pad(np.ones(len(points)), padding))


@in_float64
@jax.jit
def learn(
    state: State, data: Likelihood, move: Move, scaling: Scaling, smallest_scale: Array | float, objective: Objective
) -> tuple[State, Array]:
    """State after one step, or before it when it leads to a collapse; and the mean log density before the step."""
    n_points = data.total_weight
    value, found = data.expected_statistics(data.natural(state.mixture))
    statistics = state.statistics + move.size * (found / n_points - state.statistics)
    mixture = objective.maximise(statistics)
    status = jnp.select(
        [~jnp.isfinite(value), ~is_sound(mixture, smallest_scale)],
        [int(StreamStatus.NONFINITE), int(StreamStatus.COLLAPSED)],
        int(StreamStatus.LEARNED),
    )
    moved = _average(state, statistics, move)._replace(mixture=mixture, statistics=statistics)
    keep = partial(jnp.where, status == StreamStatus.LEARNED)
    return jax.tree.map(keep, moved, state)._replace(status=status), value / n_points - scaling.log_volume


def _average(state: State, statistics: Array, move: Move) -> State:
    present, n_present = jnp.where(move.turn, 0.0, state.present), jnp.where(move.turn, 0.0, state.n_present)
    return state._replace(
        last=jnp.where(move.turn, state.present, state.last),
        n_last=jnp.where(move.turn, state.n_present, state.n_last),
        present=present + jnp.where(move.averaged, statistics, 0.0),
        n_present=n_present + move.averaged,
    )


@in_float64
@jax.jit
def average_mixture(state: State, scaling: Scaling, smallest_scale: Array | float, objective: Objective) -> Mixture:
    """Mixture of the averaged statistics in data units; where there is no average, of the last statistics."""
    mean = (state.present + state.last) / (state.n_present + state.n_last)
    averaged = objective.maximise(mean)
    keep = partial(jnp.where, is_sound(averaged, smallest_scale))
    return scaling.to_data(jax.tree.map(keep, averaged, state.mixture))
