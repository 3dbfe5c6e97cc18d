r"""Hamiltonian moves of fixed length under a tempered likelihood, for many particles or for one chain.

.. math:: p_\beta(u) \propto p(u) \, p(x \mid u)^\beta, \qquad 0 \le \beta \le 1

in the coordinates of `label_symmetry`. A move is a few leapfrog steps of a random size under a constant metric, which
the rule of Metropolis takes or refuses. They need not go far: independence proposals carry chains from one part of the
posterior to another. The random numbers are made beforehand, by NumPy: a program that makes them compiles half as fast.

The metric belongs to an order of the components (`View`), so that a component that may lie anywhere takes long steps
beside one that is known well. A mixture has that order once, and a move that would leave it is refused.

References
----------
Duane, Kennedy, Pendleton and Roweth (1987), doi 10.1016/0370-2693(87)91197-X; Neal (2011), arXiv 1206.1901.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayes_gmm.bayes.sites import assemble
from bayes_gmm.bayes.target import Target
from bayes_gmm.sampling.label_symmetry import Symmetry, View, constrain_symmetric

_SHARES, _LOG_SIZES = (0.0, 0.1, 1.0), (-4.0, -1.0, 0.4)
"""Quantiles of the logarithm of the size of the steps of a move, relative to the step size.

One move in ten has much smaller steps than the others: it is accepted in narrow places too.
"""

_DIVERGENT = 1000.0
"""Error of the energy above which a trajectory counts as divergent, as in Stan."""


class Place(NamedTuple):
    """Symmetric coordinates with their log prior density and log-likelihood."""

    coordinates: Float[Any, "*batch P"]
    log_prior: Float[Any, "*batch"]
    log_likelihood: Float[Any, "*batch"]

    @property
    def log_posterior(self) -> Float[Any, "*batch"]:
        """Log posterior density, not normalised, in symmetric coordinates."""
        return self.log_prior + self.log_likelihood


def of_batch(n_coordinates: int, *batch: int) -> Place:
    """Places of a shape, all zeros, for which programs are compiled."""
    return Place(np.zeros((*batch, n_coordinates)), np.zeros(batch), np.zeros(batch))


class Chances(NamedTuple):
    """Random numbers of a move: its momentum, by what the step size is multiplied, and the logarithm of a uniform."""

    momentum: Float[Any, "*batch P"]
    size: Float[Any, "*batch"]
    threshold: Float[Any, "*batch"]


def chances_of_moves(rng: np.random.Generator, shape: tuple[int, ...], n_coordinates: int) -> Chances:
    """Random numbers of some moves."""
    sizes = np.exp(np.interp(rng.random(shape), _SHARES, _LOG_SIZES))
    return Chances(rng.standard_normal((*shape, n_coordinates)), sizes, np.log1p(-rng.random(shape)))


class Moved(NamedTuple):
    """Where a move ended, its probability of acceptance, its energy, and whether the trajectory diverged."""

    place: Place
    acceptance: Float[Array, "*batch"]
    energy: Float[Array, "*batch"]
    diverging: Bool[Array, "*batch"]


def place_at(coordinates: Float[Array, " P"], target: Target) -> Place:
    """Densities at symmetric coordinates; minus infinity where they are not defined."""
    values, log_prior = constrain_symmetric(target.sites, coordinates)
    eta = target.data.natural(target.scaling.to_unit(assemble(values)))
    log_likelihood = target.data.log_likelihood(eta) - target.log_volume
    defined = jnp.isfinite(log_prior) & jnp.isfinite(log_likelihood)
    return Place(coordinates, *(jnp.where(defined, part, -jnp.inf) for part in (log_prior, log_likelihood)))


def move(
    place: Place,
    chances: Chances,
    view: View,
    step: Array,
    power: Array | float,
    target: Target,
    symmetry: Symmetry,
    *,
    leapfrogs: int,
) -> Moved:
    """One move of so many leapfrog steps from a place in the order of the view, which it keeps."""

    def tempered(coordinates: Array) -> tuple[Array, Place]:
        there = place_at(coordinates, target)
        return there.log_prior + power * there.log_likelihood, there

    slope_at = jax.value_and_grad(tempered, has_aux=True)
    momentum = chances.momentum
    pass_on = partial(_leapfrog, slope_at, jnp.asarray(view.factor), step * chances.size, leapfrogs)
    there, last = jax.lax.fori_loop(0, leapfrogs + 1, pass_on, (place, momentum))
    energy = 0.5 * momentum @ momentum - place.log_prior - power * place.log_likelihood
    after = 0.5 * last @ last - there.log_prior - power * there.log_likelihood
    allowed = jnp.isfinite(after) & symmetry.in_places(there.coordinates, jax.tree.map(jnp.asarray, view.places))
    error = jnp.where(allowed, after - energy, jnp.inf)
    accepted = chances.threshold < -error
    kept = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), there, place)
    diverging = ~jnp.isfinite(after) | (after - energy > _DIVERGENT)
    return Moved(kept, jnp.minimum(1.0, jnp.exp(-error)), energy, diverging)


def _leapfrog(
    slope_at: Any, factor: Array, size: Array, last: int, number: Array, state: tuple[Place, Array]
) -> tuple[Place, Array]:
    """Pass 0 finds the slope at the start and kicks by half; the others drift and kick, the last of them by half.

    So the density enters the program once.
    """
    there, momentum = state
    drift = jnp.where(number == 0, 0.0, size)
    (_, there), slope = slope_at(there.coordinates + drift * (factor @ momentum))
    kick = jnp.where((number > 0) & (number < last), 1.0, 0.5) * size
    return there, momentum + kick * (factor.T @ jnp.where(jnp.isfinite(slope), slope, 0.0))
