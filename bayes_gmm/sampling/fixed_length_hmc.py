r"""Hamiltonian Monte Carlo of a fixed length, a quarter of a period, by a splitting integrator of two stages.

In standardised coordinates all of a normal distribution turns with the period 2 pi, so that after a quarter of it a
state is independent of the one before. With b = 0.21178, a step of size e is

.. math:: p \mathrel{-}= b e \nabla U, \quad q \mathrel{+}= \tfrac e2 p, \quad p \mathrel{-}= (1 - 2 b) e \nabla U,
          \quad q \mathrel{+}= \tfrac e2 p, \quad p \mathrel{-}= b e \nabla U,

whose last kick is the first of the next step. A trajectory has the length of a quarter of a period times a random
factor, which keeps parts of the posterior that turn faster or slower from coming back to where they were, and as few
steps of at most the tuned size as this takes. Neither depends on the state, so that the rule of Metropolis suffices.

The loop is flat, as in `nuts`: each pass drifts by half a step and kicks.

References
----------
Duane, Kennedy, Pendleton and Roweth (1987), doi 10.1016/0370-2693(87)91197-X; Blanes, Casas and Sanz-Serna (2014), doi
10.1137/130932740 (the integrator); Neal (2011), arXiv 1206.1901 (random lengths).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from bayes_gmm.sampling.counted_random import normals, uniforms, words
from bayes_gmm.sampling.kernel import DIVERGENT, ChainState, Point, SlopeAt, evaluated, room_for, where
from bayes_gmm.sampling.step_size import Tuning, tuned

FEWEST_STEPS = 2
"""Steps of a trajectory at least: with one alone, a direction a third narrower than the metric says would diverge."""

MOST_STEPS = 32
"""Steps of a trajectory at most, at which NUTS is cheaper."""

_QUARTER = np.pi / 2
_SPREAD = 0.25
"""Lengths of trajectories are a quarter of a period, times a factor up to this share away from one."""

_B = 0.21178
"""Weight of the outer kicks: it keeps the energy of a normal distribution best at the sizes that are used."""

_PLACE = 2**31
"""Place of the random numbers of a transition for its length and its acceptance; below it are those of the momentum."""


class _Trajectory(NamedTuple):
    """The state of a trajectory after some of its stages, of which each step has two."""

    point: Point
    momentum: Float[Array, " P"]
    energy: Float[Array, ""]
    stages: Int[Array, ""]
    done: Int[Array, ""]
    size: Float[Array, ""]
    chance: Float[Array, ""]

    @property
    def finished(self) -> Bool[Array, ""]:
        """Whether all stages are done."""
        return self.done >= self.stages


class _Loop(NamedTuple):
    """What a pass of the loop changes; `done` counts the transitions."""

    state: ChainState
    trajectory: _Trajectory
    done: Int[Array, ""]
    observed: dict[str, Shaped[Array, "room ..."]]


class FixedLengthHMC(NamedTuple):
    """The kernel; a trajectory has at least `fewest_steps` steps, of two gradients each."""

    fewest_steps: int = FEWEST_STEPS

    @property
    def name(self) -> str:
        """What it is called."""
        return "HMC"

    def advance(
        self, slope_at: SlopeAt, state: ChainState, length: Int[Array, ""] | int, tuning: Tuning, room: int
    ) -> tuple[ChainState, dict[str, Shaped[Array, "room ..."]]]:
        """State after `length` transitions and what was observed of each (`Kernel`)."""
        momenta = normals(state.key, state.number + jnp.arange(room), state.point.offset.size)
        trajectory = self._fresh(state, momenta[0])
        _, seen = jax.eval_shape(_accepted, state.point, trajectory)
        nothing = room_for(seen, room)

        def unfinished(loop: _Loop) -> Array:
            return (loop.done < length) | loop.state.point.unknown

        def stage(loop: _Loop) -> _Loop:
            fresh = self._fresh(loop.state, momenta[loop.done])
            trajectory = where(loop.trajectory.finished, fresh, loop.trajectory)
            return self._recorded(loop, _moved(trajectory, slope_at), tuning)

        start = _Loop(state, trajectory._replace(done=trajectory.stages), jnp.array(0), nothing)
        loop = jax.lax.while_loop(unfinished, stage, start)
        return loop.state, loop.observed

    @property
    def largest_step(self) -> float:
        """Step size at which the longest trajectory has the fewest steps."""
        return _QUARTER * (1 + _SPREAD) / self.fewest_steps

    def _fresh(self, state: ChainState, momentum: Float[Array, " P"]) -> _Trajectory:
        """A trajectory before its first stage; of one stage without length where the potential is not known yet."""
        places = _PLACE + jnp.arange(2)
        draw, chance = uniforms(words(state.key, jnp.broadcast_to(state.number, (2,)), places))
        length = _QUARTER * (1 + _SPREAD * (2 * draw - 1))
        n_steps = jnp.clip(jnp.ceil(length / state.step.size), self.fewest_steps, MOST_STEPS)
        size = jnp.where(state.point.unknown, 0.0, length / n_steps)
        kicked = momentum - _B * size * state.point.slope
        return _Trajectory(
            point=state.point,
            momentum=kicked,
            energy=state.point.potential + 0.5 * momentum @ momentum,
            stages=jnp.where(state.point.unknown, 1, 2 * n_steps).astype(int),
            done=jnp.array(0),
            size=size,
            chance=chance,
        )

    def _recorded(self, loop: _Loop, trajectory: _Trajectory, tuning: Tuning) -> _Loop:
        """The chain moves on where the trajectory is finished; where its potential was unknown, it is known now."""
        state, unknown = loop.state, loop.state.point.unknown
        point, seen = _accepted(state.point, trajectory)
        moved = trajectory.finished & ~unknown
        point = where(unknown, trajectory.point, where(moved, point, state.point))
        step = tuned(state.step, seen["acceptance_rate"], state.number, tuning)
        step = where(moved, step._replace(size=jnp.minimum(step.size, self.largest_step)), state.step)
        return loop._replace(
            state=state._replace(point=point, number=state.number + moved, step=step),
            trajectory=trajectory,
            done=loop.done + moved,
            observed={name: values.at[loop.done].set(seen[name]) for name, values in loop.observed.items()},
        )


def _moved(trajectory: _Trajectory, slope_at: SlopeAt) -> _Trajectory:
    """One stage: half a step of drift, and the kick after it."""
    size, done = trajectory.size, trajectory.done + 1
    point = evaluated(slope_at, trajectory.point.offset + 0.5 * size * trajectory.momentum)
    kick = jnp.where(done % 2 == 1, 1 - 2 * _B, jnp.where(done == trajectory.stages, _B, 2 * _B))
    return trajectory._replace(point=point, momentum=trajectory.momentum - kick * size * point.slope, done=done)


def _accepted(before: Point, trajectory: _Trajectory) -> tuple[Point, dict[str, Shaped[Array, "..."]]]:
    """Where the chain is after the trajectory by the rule of Metropolis, and what is observed, should it be finished.

    The number of steps is that of gradients, as for NUTS.
    """
    momentum = trajectory.momentum
    energy = trajectory.point.potential + 0.5 * momentum @ momentum
    error = energy - trajectory.energy
    error = jnp.where(jnp.isnan(error), jnp.inf, error)
    taken = jnp.log(trajectory.chance) < -error
    point = where(taken, trajectory.point, before)
    return point, {
        "offset": point.offset,
        "lp": -point.potential,
        "energy": jnp.where(taken, energy, trajectory.energy),
        "n_steps": trajectory.stages,
        "step_size": trajectory.size,
        "acceptance_rate": jnp.exp(jnp.minimum(0.0, -error)),
        "diverging": error > DIVERGENT,
    }
