"""Random numbers that are functions of a key, the number of a transition and a place in it, and of nothing else.

A chain keeps one key and counts its transitions, so that its numbers do not depend on how it is cut into calls of a
program. The generator is SplitMix64, a few operations on 64-bit integers, which compiles to little code.

References
----------
Steele, Lea and Flood (2014), doi 10.1145/2660193.2660195; Box and Muller (1958), doi 10.1214/aoms/1177706645.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt64

type Key = UInt64[Any, ""]
"""Key of one chain."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)

_PLACES = np.uint64(2**32)
"""Places of a transition."""

_MANTISSA = np.uint64(11)
"""Bits of a word that a float64 has no room for."""


def words(key: Key, number: Int[Any, "*#shape"], place: Int[Any, "*#shape"]) -> UInt64[Array, "*shape"]:
    """Random words of 64 bits, one for each number of a transition and place (below 2^32) in it."""
    counter = number.astype(jnp.uint64) * _PLACES + place.astype(jnp.uint64)
    z = key + (counter + np.uint64(1)) * _GAMMA
    z = (z ^ (z >> _SHIFTS[0])) * _FACTORS[0]
    z = (z ^ (z >> _SHIFTS[1])) * _FACTORS[1]
    return z ^ (z >> _SHIFTS[2])


def uniforms(bits: UInt64[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Numbers between zero and one, both left out, of random words."""
    return ((bits >> _MANTISSA).astype(jnp.float64) + 0.5) * 2.0**-53


def normals(key: Key, number: Int[Any, " T"], size: int) -> Float[Array, "T {size}"]:
    """Standard normal numbers (T, size) of some transitions, at their first 2 `size` places."""
    places = jnp.arange(2 * size).reshape(1, 2, size)
    radius, angle = jnp.moveaxis(uniforms(words(key, number[:, None, None], places)), 1, 0)
    return jnp.sqrt(-2.0 * jnp.log(radius)) * jnp.cos(2.0 * np.pi * angle)
