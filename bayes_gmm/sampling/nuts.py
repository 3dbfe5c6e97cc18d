r"""The No-U-Turn sampler as one flat loop: each pass makes one leapfrog step.

A trajectory is doubled, forwards or backwards in time, until its ends begin to approach one another,

.. math:: (q_+ - q_-) \cdot p_- \le 0 \quad \text{or} \quad (q_+ - q_-) \cdot p_+ \le 0,

in coordinates whose metric is the identity. Each doubling is a tree; instead of a recursion there are checkpoints, one
for each of its levels: the first leaf of the subtree at this level that is being made. When a leaf completes subtrees,
it is compared with their first leaves. As in Stan, each half of a subtree is also compared with the nearest leaf of the
other half: where the momenta of all coordinates turn at once, as those of a normal distribution do, the ends of a whole
period would not be seen to approach. The next state is drawn from the leaves by their weights exp(-energy), with a
preference for later doublings.

Because the passes are all alike, the program holds one leapfrog and one copy of the density, and compiles in half the
time of loops within loops.

References
----------
Hoffman and Gelman (2014), JMLR 15, 1593-1623; Betancourt (2017), arXiv 1701.02434 (drawing by weights); Phan, Pradhan
and Jankowiak (2019), arXiv 1912.11554 (iterations with checkpoints).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from bayes_gmm.sampling.counted_random import normals, uniforms, words
from bayes_gmm.sampling.kernel import DIVERGENT, ChainState, Point, SlopeAt, evaluated, room_for, where
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

    @property
    def phase(self) -> "_Phase":
        """Where it is, and where it goes."""
        return _phase(self.point.offset, self.momentum)


class _Phase(NamedTuple):
    """Offsets and momenta of some leaves, and their products."""

    offset: Float[Array, "*leaves P"]
    momentum: Float[Array, "*leaves P"]
    product: Float[Array, "*leaves"]


class _Drawn(NamedTuple):
    """A leaf drawn from some leaves, its energy, and the logarithm of the sum of their weights."""

    point: Point
    energy: Float[Array, ""]
    log_weight: Float[Array, ""]


class _Trajectory(NamedTuple):
    """The ends of a trajectory (backward, forward), what was drawn from it, and how it went.

    `depth` counts the doublings that were made, `acceptance` is a sum over the leaves.
    """

    ends: _Phase
    slopes: Float[Array, "2 P"]
    energy: Float[Array, ""]
    drawn: _Drawn
    depth: Int[Array, ""]
    n_leaves: Int[Array, ""]
    acceptance: Float[Array, ""]
    finished: Bool[Array, ""]


class _Subtree(NamedTuple):
    """The doubling that is being made: its direction in time, its leaves so far, and checkpoints (levels, P).

    A leaf, and the one before it, are kept in the row that is the number of ones among the bits of the leaf's number.
    `nears` says whether the first leaf is nearer to the other end of the trajectory than the one before it.
    """

    forward: Int[Array, ""]
    n_leaves: Int[Array, ""]
    drawn: _Drawn
    leaves: _Phase
    before: _Phase
    nears: Bool[Array, ""]

    @property
    def direction(self) -> Float[Array, ""]:
        """Sign of the time step."""
        return jnp.where(self.forward == 1, 1.0, -1.0)


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

    @property
    def name(self) -> str:
        """What it is called."""
        return "NUTS"

    def advance(
        self, slope_at: SlopeAt, state: ChainState, length: Int[Array, ""] | int, tuning: Tuning, room: int
    ) -> tuple[ChainState, dict[str, Shaped[Array, "room ..."]]]:
        """State after `length` transitions and what was observed of each (`Kernel`)."""
        momenta = normals(state.key, state.number + jnp.arange(room), state.point.offset.size)
        trajectory = _fresh(state.point, momenta[0])._replace(finished=jnp.array(True))
        nothing = room_for(jax.eval_shape(_observe, trajectory, state), room)

        def one_leaf(loop: _Loop) -> _Loop:
            return self._pass(loop, slope_at, momenta, tuning)

        def unfinished(loop: _Loop) -> Array:
            return (loop.done < length) | loop.state.point.unknown

        start = _Loop(state, trajectory, _no_leaves(state.point, self.max_tree_depth), jnp.array(0), nothing)
        loop = jax.lax.while_loop(unfinished, one_leaf, start)
        return loop.state, loop.observed

    def _pass(self, loop: _Loop, slope_at: SlopeAt, momenta: Float[Array, "room P"], tuning: Tuning) -> _Loop:
        """One leapfrog step, and what follows from it for subtree, trajectory and chain."""
        state, subtree = loop.state, loop.subtree
        trajectory = where(loop.trajectory.finished, _fresh(state.point, momenta[loop.done]), loop.trajectory)
        turn, draw, join = _chances(state, trajectory.n_leaves)
        forward = jnp.where(subtree.n_leaves == 0, (turn < 0.5).astype(int), subtree.forward)
        size = jnp.where(state.point.unknown, 0.0, state.step.size)
        leaf = _leapfrog(trajectory, forward, size, slope_at)

        subtree = _grown(subtree._replace(forward=forward), leaf, trajectory, draw)
        broken = _turns(subtree, leaf) | leaf.diverging
        full = ~broken & (subtree.n_leaves == 2**trajectory.depth)
        turned, subtree = _turns_as_a_whole(trajectory, subtree, leaf)
        cut = turned | (trajectory.depth + 1 >= self.max_tree_depth)
        trajectory = _joined(_extended(trajectory, leaf, forward), subtree, full, join)
        trajectory = trajectory._replace(finished=broken | (full & cut))
        subtree = subtree._replace(n_leaves=jnp.where(broken | full, 0, subtree.n_leaves))
        return _recorded(loop._replace(trajectory=trajectory, subtree=subtree), leaf, tuning)


def _recorded(loop: _Loop, leaf: _Leaf, tuning: Tuning) -> _Loop:
    """The chain moves on where the trajectory is finished; where its potential was unknown, it is known now."""
    state, trajectory, unknown = loop.state, loop.trajectory, loop.state.point.unknown
    seen = _observe(trajectory, state) | {"diverging": leaf.diverging}
    moved = trajectory.finished & ~unknown
    point = where(unknown, leaf.point, where(moved, trajectory.drawn.point, state.point))
    step = where(moved, tuned(state.step, seen["acceptance_rate"], state.number, tuning), state.step)
    return loop._replace(
        state=state._replace(point=point, number=state.number + moved, step=step),
        trajectory=trajectory._replace(finished=trajectory.finished | unknown),
        subtree=loop.subtree._replace(n_leaves=jnp.where(unknown, 0, loop.subtree.n_leaves)),
        done=loop.done + moved,
        observed={name: values.at[loop.done].set(seen[name]) for name, values in loop.observed.items()},
    )


def _observe(trajectory: _Trajectory, state: ChainState) -> dict[str, Shaped[Array, "..."]]:
    """Offset and statistics of a transition, should the trajectory be finished; whether it diverged is to come."""
    return {
        "offset": trajectory.drawn.point.offset,
        "lp": -trajectory.drawn.point.potential,
        "energy": trajectory.drawn.energy,
        "n_steps": trajectory.n_leaves,
        "acceptance_rate": trajectory.acceptance / trajectory.n_leaves,
        "step_size": state.step.size,
        "diverging": trajectory.finished,
    }


def _fresh(point: Point, momentum: Float[Array, " P"]) -> _Trajectory:
    """A trajectory of one point, both ends of it."""
    energy, zero = point.potential + 0.5 * momentum @ momentum, jnp.array(0)
    return _Trajectory(
        ends=jax.tree.map(_twice, _phase(point.offset, momentum)),
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
    nowhere = _Phase(rows, rows, rows[:, 0])
    return _Subtree(zero, zero, _Drawn(point, jnp.array(0.0), jnp.array(0.0)), nowhere, nowhere, jnp.array(False))


def _chances(state: ChainState, number: Int[Array, ""]) -> Float[Array, " 3"]:
    """Random numbers of a leaf."""
    places = _PLACE_OF_LEAVES + _CHANCES * number + jnp.arange(_CHANCES)
    return uniforms(words(state.key, jnp.broadcast_to(state.number, (_CHANCES,)), places))


def _leapfrog(trajectory: _Trajectory, forward: Int[Array, ""], size: Float[Array, ""], slope_at: SlopeAt) -> _Leaf:
    """A leapfrog step from one of the ends, outwards."""
    step = jnp.where(forward == 1, size, -size)
    offset, momentum, _ = _row(trajectory.ends, forward)
    halfway = momentum - 0.5 * step * trajectory.slopes[forward]
    point = evaluated(slope_at, offset + step * halfway)
    momentum = halfway - 0.5 * step * point.slope
    energy = point.potential + 0.5 * momentum @ momentum
    error = energy - trajectory.energy
    return _Leaf(point, momentum, energy, jnp.where(jnp.isnan(error), jnp.inf, error))


def _grown(subtree: _Subtree, leaf: _Leaf, trajectory: _Trajectory, chance: Float[Array, ""]) -> _Subtree:
    """A subtree with one more leaf, which is drawn by its share in the weight; the trajectory ends before the leaf."""
    number, weight = subtree.n_leaves, -leaf.error
    is_first = number == 0
    total = jnp.where(is_first, weight, jnp.logaddexp(subtree.drawn.log_weight, weight))
    taken = is_first | (jnp.log(chance) < weight - total)
    row = jax.lax.population_count(number)
    return subtree._replace(
        n_leaves=number + 1,
        drawn=where(taken, _Drawn(leaf.point, leaf.energy, total), subtree.drawn)._replace(log_weight=total),
        leaves=_with_row(subtree.leaves, row, leaf.phase),
        before=_with_row(subtree.before, row, _row(trajectory.ends, subtree.forward)),
    )


def _turns(subtree: _Subtree, leaf: _Leaf) -> Bool[Array, ""]:
    """Whether one of the subtrees that the last leaf completes, or is halfway through, makes a U-turn.

    The bits of the leaf's number are its path in the tree: it completes as many subtrees as the number ends with ones,
    or else it begins the second half of one. Their first leaves are in the rows before its own, and in the row after
    each of these is the first leaf of the second half.
    """
    number = subtree.n_leaves - 1
    own = jax.lax.population_count(number)
    completed = jax.lax.population_count(number ^ subtree.n_leaves) - 1
    rows = jnp.arange(len(subtree.leaves.product))
    of_first = _nears(leaf.phase, subtree.leaves, subtree.forward) & (rows >= own - jnp.maximum(completed, 1))
    of_half = _nears(leaf.phase, subtree.before, subtree.forward) & (rows > own - completed)
    return ((of_first | of_half) & (rows < own)).any()


def _turns_as_a_whole(trajectory: _Trajectory, subtree: _Subtree, leaf: _Leaf) -> tuple[Bool[Array, ""], _Subtree]:
    """Whether a trajectory makes a U-turn with a subtree that the leaf completes; what the subtree knows after it."""
    start, before = _row(trajectory.ends, 1 - subtree.forward), _row(subtree.before, 0)
    two = jax.tree.map(lambda *parts: jnp.stack(parts), start, before)
    of_start, of_half = _nears(leaf.phase, two, subtree.forward)
    halfway = jnp.where(subtree.n_leaves == 1, of_start, subtree.nears)
    return of_start | of_half | halfway, subtree._replace(nears=halfway)


def _nears(leaf: _Phase, earlier: _Phase, forward: Int[Array, ""]) -> Bool[Array, " leaves"]:
    """Whether a leaf and earlier ones (later, where time runs backward) begin to approach one another."""
    of_leaf, of_earlier = (
        leaf.product - earlier.offset @ leaf.momentum,
        earlier.momentum @ leaf.offset - earlier.product,
    )
    nearest = jnp.where(forward == 1, jnp.minimum(of_leaf, of_earlier), -jnp.maximum(of_leaf, of_earlier))
    return nearest <= 0


def _extended(trajectory: _Trajectory, leaf: _Leaf, forward: Int[Array, ""]) -> _Trajectory:
    """A trajectory that ends at a leaf, on one side."""
    return trajectory._replace(
        ends=_with_row(trajectory.ends, forward, leaf.phase),
        slopes=trajectory.slopes.at[forward].set(leaf.point.slope),
        n_leaves=trajectory.n_leaves + 1,
        acceptance=trajectory.acceptance + jnp.exp(jnp.minimum(0.0, -leaf.error)),
    )


def _joined(trajectory: _Trajectory, subtree: _Subtree, full: Bool[Array, ""], chance: Float[Array, ""]) -> _Trajectory:
    """A trajectory and a full subtree, which is preferred: in the other half the chain began."""
    before, new = trajectory.drawn, subtree.drawn
    drawn = where(full & (jnp.log(chance) < new.log_weight - before.log_weight), new, before)
    total = jnp.where(full, jnp.logaddexp(before.log_weight, new.log_weight), before.log_weight)
    return trajectory._replace(drawn=drawn._replace(log_weight=total), depth=trajectory.depth + full)


def _phase(offset: Float[Array, " P"], momentum: Float[Array, " P"]) -> _Phase:
    return _Phase(offset, momentum, offset @ momentum)


def _twice(part: Float[Array, "*shape"]) -> Float[Array, "2 *shape"]:
    return jnp.stack([part, part])


def _row(leaves: _Phase, row: Int[Array, ""] | int) -> _Phase:
    return jax.tree.map(lambda part: part[row], leaves)


def _with_row(leaves: _Phase, row: Int[Array, ""], leaf: _Phase) -> _Phase:
    return jax.tree.map(lambda part, own: part.at[row].set(own), leaves, leaf)
