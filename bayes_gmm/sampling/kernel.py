"""The contract of a Hamiltonian kernel: some transitions of one chain, in standardised coordinates.

A kernel is a small tuple of settings that a program is compiled for, with a method `advance`. It holds the density in
one place of the program, or compiling takes twice as long; so the density where a chain begins is found by the loop
that makes the transitions, with a step of no length.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from bayes_gmm.sampling.counted_random import Key
from bayes_gmm.sampling.step_size import StepSize, Tuning, untuned

DIVERGENT = 1000.0
"""Error of the energy above which a trajectory counts as divergent, as in Stan."""

type SlopeAt = Callable[[Float[Array, " P"]], tuple[Float[Array, ""], Float[Array, " P"]]]
"""Potential (minus the log density) and its gradient at standardised coordinates."""


class Point(NamedTuple):
    """Standardised coordinates with the potential and its gradient, NaN and zero where these are not known yet."""

    offset: Float[Any, " P"]
    potential: Float[Any, ""]
    slope: Float[Any, " P"]

    @property
    def unknown(self) -> Bool[Any, ""]:
        """Whether the potential was not evaluated here."""
        return jnp.isnan(self.potential)


class ChainState(NamedTuple):
    """Where a chain is, the key of its random numbers, how many transitions it made, and its step size."""

    point: Point
    key: Key
    number: Int[Any, ""]
    step: StepSize


@runtime_checkable
class Kernel(Protocol):
    """Transitions of one chain."""

    @property
    def name(self) -> str:
        """What it is called."""

    def advance(
        self, slope_at: SlopeAt, state: ChainState, length: Int[Array, ""] | int, tuning: Tuning, room: int
    ) -> tuple[ChainState, dict[str, Shaped[Array, "room ..."]]]:
        """State after `length` transitions and what was observed of each, in the first places of `room`.

        Observed are the "offset", standardised coordinates, and statistics by ArviZ's names. With no transition the
        potential at the state is evaluated, where it is not known.
        """


def begin(offset: Float[np.ndarray, " P"], key: Key, step: StepSize | None = None) -> ChainState:
    """State of a chain before its first transition, which may begin where there is no density."""
    point = Point(offset, np.asarray(np.nan), np.zeros_like(offset))
    return ChainState(point, key, np.asarray(0), untuned() if step is None else step)


def evaluated(slope_at: SlopeAt, offset: Float[Array, " P"]) -> Point:
    """The point at some coordinates, of infinite potential where the density is not defined."""
    potential, slope = slope_at(offset)
    defined = jnp.isfinite(potential)
    return Point(offset, jnp.where(defined, potential, jnp.inf), jnp.where(defined & jnp.isfinite(slope), slope, 0.0))


def room_for(seen: dict[str, Any], room: int) -> dict[str, Shaped[Array, "room ..."]]:
    """Places for what is observed of each transition, of these shapes and types."""
    return {name: jnp.zeros((room, *jnp.shape(one)), one.dtype) for name, one in seen.items()}


def where[Tree](condition: Bool[Array, ""], one: Tree, other: Tree) -> Tree:
    """One or the other of two trees."""
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), one, other)
