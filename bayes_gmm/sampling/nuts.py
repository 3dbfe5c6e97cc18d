r"""The No-U-Turn sampler as one flat loop: each pass makes one leapfrog step.

A trajectory is doubled, forwards or backwards in time, until its ends begin to approach one another,

.. math:: (q_+ - q_-) \cdot p_- \le 0 \quad \text{or} \quad (q_+ - q_-) \cdot p_+ \le 0,

in coordinates whose metric is the identity. The doubling is a tree; instead of a recursion there are checkpoints, one
for each of its levels: the first leaf of the subtree at this level that is being built. When a leaf completes subtrees,
it is compared with their first leaves. The next state is drawn from the leaves by their weights exp(-energy), with a
preference for later doublings.

Because the passes are all alike, the program holds one leapfrog and one copy of the density, and compiles in half the
time of loops within loops.

References
----------
Hoffman and Gelman (2014), JMLR 15, 1593-1623; Betancourt (2017), arXiv 1701.02434 (drawing by weights); Phan, Pradhan
and Jankowiak (2019), arXiv 1912.11554, and Lao and Dillon (2019), TensorFlow Probability (iterations with checkpoints).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from bayes_gmm.sampling.counted_random import normals, uniforms, words
from bayes_gmm.sampling.kernel import DIVERGENT, ChainState, Point, SlopeAt, evaluated
from bayes_gmm.sampling.step_size import Tuning, tuned

_PLACE_OF_LEAVES = 2**31
"""Place of the random numbers of the first leaf; below it are those of the momentum."""

_CHANCES = 3
"""Random numbers of a leaf: for the direction of a doubling, the draw within it, and its draw as a whole."""


class _Leaf(NamedTuple):
    """Where a leapfrog step ended, its energy, and by how much that is above the energy at the start."""

    point: Point
    momentum: Float[Array, " P"]
    energy: Float[Array, ""]
    error: Float[Array, ""]

    @property
    def diverging(self) -> Bool[Array, ""]:
        """Whether the energy was lost."""
        return self.error > DIVERGENT


class _Drawn(NamedTuple):
    """A leaf drawn from some leaves, its energy, and the logarithm of the sum of their weights."""

    point: Point
    energy: Float[Array, ""]
    log_weight: Float[Array, ""]


class _Trajectory(NamedTuple):
    """The ends of a trajectory (backward, forward), what was drawn from it, and how it went.

    `depth` counts the doublings that were made, `acceptance` is a sum over the leaves.
    """

    offsets: Float[Array, "2 P"]
    momenta: Float[Array, "2 P"]
    slopes: Float[Array, "2 P"]
    energy: Float[Array, ""]
    drawn: _Drawn
    depth: Int[Array, ""]
    n_leaves: Int[Array, ""]
    acceptance: Float[Array, ""]
    finished: Bool[Array, ""]


class _Subtree(NamedTuple):
    """The doubling that is being made: its direction in time, its leaves so far, and the first of each level.

    The last row of these takes what need not be kept.
    """

    forward: Int[Array, ""]
    n_leaves: Int[Array, ""]
    drawn: _Drawn
    offsets: Float[Array, "levels P"]
    momenta: Float[Array, "levels P"]


class _Loop(NamedTuple):
    """What a pass of the loop changes; `done` counts the transitions."""

    state: ChainState
    trajectory: _Trajectory
    subtree: _Subtree
    done: Int[Array, ""]
    observed: dict[str, Shaped[Array, "room ..."]]


class Nuts(NamedTuple):
    """The kernel; a trajectory has at most 2^`max_tree_depth` - 1 leapfrog steps."""

    max_tree_depth: int = 10

    def advance(
        self, slope_at: SlopeAt, state: ChainState, length: Int[Array, ""] | int, tuning: Tuning, room: int
    ) -> tuple[ChainState, dict[str, Shaped[Array, "room ..."]]]:
        """State after `length` transitions and what was observed of each (`Kernel`)."""
        momenta = normals(state.key, state.number + jnp.arange(room), state.point.offset.size)
        trajectory = _fresh(state.point, momenta[0])._replace(finished=jnp.array(True))
        subtree = _no_leaves(state.point, self.max_tree_depth)
        shapes = jax.eval_shape(self._observe, trajectory, state)
        nothing = {name: jnp.zeros((room, *seen.shape), seen.dtype) for name, seen in shapes.items()}

        def unfinished(loop: _Loop) -> Array:
            return (loop.done < length) | loop.state.point.unknown

        def one_leaf(loop: _Loop) -> _Loop:
            return self._pass(loop, slope_at, momenta, tuning)

        loop = jax.lax.while_loop(unfinished, one_leaf, _Loop(state, trajectory, subtree, jnp.array(0), nothing))
        return loop.state, loop.observed

    def _pass(self, loop: _Loop, slope_at: SlopeAt, momenta: Float[Array, "room P"], tuning: Tuning) -> _Loop:
        """One leapfrog step, and what follows from it for subtree, trajectory and chain."""
        state, subtree = loop.state, loop.subtree
        fresh = _fresh(state.point, momenta[loop.done])
        trajectory = _where(loop.trajectory.finished, fresh, loop.trajectory)
        turn, draw, join = _chances(state, trajectory.n_leaves)
        forward = jnp.where(subtree.n_leaves == 0, (turn < 0.5).astype(int), subtree.forward)
        size = jnp.where(state.point.unknown, 0.0, state.step.size)
        leaf = _leapfrog(trajectory, forward, size, slope_at)

        broken = _turns(subtree, forward, leaf) | leaf.diverging
        subtree = _grown(subtree._replace(forward=forward), leaf, draw)
        full = ~broken & (subtree.n_leaves == 2**trajectory.depth)
        trajectory = _joined(_extended(trajectory, leaf, forward), subtree, full, join)
        cut = trajectory.depth >= self.max_tree_depth
        trajectory = trajectory._replace(finished=broken | (full & (_ends_meet(trajectory) | cut)))
        subtree = subtree._replace(n_leaves=jnp.where(broken | full, 0, subtree.n_leaves))
        return self._recorded(loop._replace(trajectory=trajectory, subtree=subtree), leaf, tuning)

    def _recorded(self, loop: _Loop, leaf: _Leaf, tuning: Tuning) -> _Loop:
        """The chain moves on where the trajectory is finished; where its potential was unknown, it is known now."""
        state, trajectory, unknown = loop.state, loop.trajectory, loop.state.point.unknown
        seen = self._observe(trajectory, state) | {"diverging": leaf.diverging}
        observed = {name: values.at[loop.done].set(seen[name]) for name, values in loop.observed.items()}
        moved = trajectory.finished & ~unknown
        point = _where(unknown, leaf.point, _where(moved, trajectory.drawn.point, state.point))
        step = _where(moved, tuned(state.step, seen["acceptance_rate"], state.number, tuning), state.step)
        return loop._replace(
            state=state._replace(point=point, number=state.number + moved, step=step),
            trajectory=trajectory._replace(finished=trajectory.finished | unknown),
            subtree=loop.subtree._replace(n_leaves=jnp.where(unknown, 0, loop.subtree.n_leaves)),
            done=loop.done + moved,
            observed=observed,
        )

    def _observe(self, trajectory: _Trajectory, state: ChainState) -> dict[str, Shaped[Array, "..."]]:
        """Offset and statistics of a transition, should the trajectory be finished; whether it diverged is to come."""
        depth = jnp.floor(jnp.log2(trajectory.n_leaves + 0.5)).astype(int) + 1
        return {
            "offset": trajectory.drawn.point.offset,
            "lp": -trajectory.drawn.point.potential,
            "energy": trajectory.drawn.energy,
            "n_steps": trajectory.n_leaves,
            "tree_depth": depth,
            "reached_max_tree_depth": depth >= self.max_tree_depth,
            "acceptance_rate": trajectory.acceptance / trajectory.n_leaves,
            "step_size": state.step.size,
            "diverging": trajectory.finished,
        }


def _fresh(point: Point, momentum: Float[Array, " P"]) -> _Trajectory:
    """A trajectory of one point, both ends of it."""
    energy = point.potential + 0.5 * momentum @ momentum
    zero = jnp.array(0)
    return _Trajectory(
        offsets=_twice(point.offset),
        momenta=_twice(momentum),
        slopes=_twice(point.slope),
        energy=energy,
        drawn=_Drawn(point, energy, jnp.array(0.0)),
        depth=zero,
        n_leaves=zero,
        acceptance=jnp.array(0.0),
        finished=jnp.array(False),
    )


def _no_leaves(point: Point, n_levels: int) -> _Subtree:
    rows, zero = jnp.zeros((n_levels, point.offset.size)), jnp.array(0)
    return _Subtree(zero, zero, _Drawn(point, jnp.array(0.0), jnp.array(0.0)), rows, rows)


def _chances(state: ChainState, number: Int[Array, ""]) -> Float[Array, " 3"]:
    """Random numbers of a leaf."""
    places = _PLACE_OF_LEAVES + _CHANCES * number + jnp.arange(_CHANCES)
    return uniforms(words(state.key, jnp.broadcast_to(state.number, (_CHANCES,)), places))


def _leapfrog(
    trajectory: _Trajectory, forward: Int[Array, ""], size: Float[Array, ""], slope_at: SlopeAt
) -> _Leaf:
    """A leapfrog step from one of the ends, outwards."""
    step = jnp.where(forward == 1, size, -size)
    halfway = trajectory.momenta[forward] - 0.5 * step * trajectory.slopes[forward]
    point = evaluated(slope_at, trajectory.offsets[forward] + step * halfway)
    momentum = halfway - 0.5 * step * point.slope
    energy = point.potential + 0.5 * momentum @ momentum
    error = energy - trajectory.energy
    return _Leaf(point, momentum, energy, jnp.where(jnp.isnan(error), jnp.inf, error))


def _turns(subtree: _Subtree, forward: Int[Array, ""], leaf: _Leaf) -> Bool[Array, ""]:
    """Whether one of the subtrees that a leaf completes makes a U-turn.

    The bits of the leaf's number are its path in the tree. It is the last leaf of as many subtrees as its number ends
    with ones. The first leaves of subtrees that it lies in, as a second half, are in the rows before.
    """
    number = subtree.n_leaves
    end = _row(number) + 1
    completed = jax.lax.population_count(number ^ (number + 1)) - 1
    rows = jnp.arange(len(subtree.offsets))
    across = jnp.where(forward == 1, 1.0, -1.0) * (leaf.point.offset[None] - subtree.offsets)
    closing = ((across * subtree.momenta).sum(1) <= 0) | (across @ leaf.momentum <= 0)
    return (closing & (rows >= end - completed) & (rows < end)).any()


def _row(number: Int[Array, ""]) -> Int[Array, ""]:
    """Row of the first leaf of the smallest subtree of two leaves that a leaf is in."""
    return jax.lax.population_count(number >> 1)


def _grown(subtree: _Subtree, leaf: _Leaf, chance: Float[Array, ""]) -> _Subtree:
    """A subtree with one more leaf, which is drawn by its share in the weight."""
    number, weight = subtree.n_leaves, -leaf.error
    first = number == 0
    total = jnp.where(first, weight, jnp.logaddexp(subtree.drawn.log_weight, weight))
    drawn = _where(first | (jnp.log(chance) < weight - total), _Drawn(leaf.point, leaf.energy, total), subtree.drawn)
    row = jnp.where(number % 2 == 0, _row(number), len(subtree.offsets) - 1)
    return subtree._replace(
        n_leaves=number + 1,
        drawn=drawn._replace(log_weight=total),
        offsets=subtree.offsets.at[row].set(leaf.point.offset),
        momenta=subtree.momenta.at[row].set(leaf.momentum),
    )


def _extended(trajectory: _Trajectory, leaf: _Leaf, forward: Int[Array, ""]) -> _Trajectory:
    """A trajectory that ends at a leaf, on one side."""
    return trajectory._replace(
        offsets=trajectory.offsets.at[forward].set(leaf.point.offset),
        momenta=trajectory.momenta.at[forward].set(leaf.momentum),
        slopes=trajectory.slopes.at[forward].set(leaf.point.slope),
        n_leaves=trajectory.n_leaves + 1,
        acceptance=trajectory.acceptance + jnp.exp(jnp.minimum(0.0, -leaf.error)),
    )


def _joined(
    trajectory: _Trajectory, subtree: _Subtree, full: Bool[Array, ""], chance: Float[Array, ""]
) -> _Trajectory:
    """A trajectory and a full subtree, which is preferred: the other half is where the chain was."""
    before, new = trajectory.drawn, subtree.drawn
    drawn = _where(full & (jnp.log(chance) < new.log_weight - before.log_weight), new, before)
    total = jnp.where(full, jnp.logaddexp(before.log_weight, new.log_weight), before.log_weight)
    return trajectory._replace(drawn=drawn._replace(log_weight=total), depth=trajectory.depth + full)


def _ends_meet(trajectory: _Trajectory) -> Bool[Array, ""]:
    """Whether the ends of a trajectory approach one another."""
    across = trajectory.offsets[1] - trajectory.offsets[0]
    return (trajectory.momenta @ across <= 0).any()


def _twice(vector: Float[Array, " P"]) -> Float[Array, "2 P"]:
    return jnp.stack([vector, vector])


def _where[Tree](condition: Bool[Array, ""], one: Tree, other: Tree) -> Tree:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), one, other)
