"""The posterior mode and the Gaussian around it: where the chains start, and the shape they move in."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .information import hessian
from .kernel import Blocks
from .numpyro_model import potential
from .prior import Sites
from .scaling import Scaling


class Target(NamedTuple):
    """All that the posterior density depends on: prior sites, data in unit coordinates, and those coordinates."""

    sites: Sites
    data: Blocks
    scaling: Scaling

    def potential(self, coordinates: Float[Array, " P"]) -> Float[Array, ""]:
        """Minus the log posterior density at unconstrained coordinates."""
        return potential(coordinates, self.sites, self.data, self.scaling)


class Laplace(NamedTuple):
    """Gaussian approximation: coordinates = mode + factor @ standard normal.

    `remaining` is what Newton's model still promises to gain in nats (half the squared Newton decrement): zero at a
    mode. `smallest_eigenvalue` of the Hessian, scaled to a unit diagonal, is positive at a mode.
    """

    mode: Any
    factor: Any
    remaining: Any
    smallest_eigenvalue: Any

    @property
    def trustworthy(self) -> bool:
        """Whether this is a mode with a proper Gaussian around it."""
        return bool(self.remaining < 1e-6) and bool(self.smallest_eigenvalue > 1e-10)


class _Newton(NamedTuple):
    coordinates: Array
    step: Array
    factor: Array
    remaining: Array
    smallest_eigenvalue: Array
    n_steps: Array


_MAX_STEPS = 50


@jax.jit
def laplace(start: Float[Array, " P"], target: Target) -> Laplace:
    """Climb from `start` to the mode by damped Newton steps on saddle-free curvature.

    References
    ----------
    Dauphin et al. (2014), arXiv 1406.2572 (absolute eigenvalues); Tierney and Kadane (1986),
    doi 10.1080/01621459.1986.10478240.
    """
    evaluate = partial(_newton, target=target)

    def unfinished(state: _Newton) -> Array:
        return (state.remaining > 1e-12) & (state.n_steps < _MAX_STEPS)

    def climb(state: _Newton) -> _Newton:
        return evaluate(_line_search(state, target), state.n_steps + 1)

    end = jax.lax.while_loop(unfinished, climb, evaluate(start, jnp.array(0)))
    return Laplace(end.coordinates, end.factor, end.remaining, end.smallest_eigenvalue)


def _newton(coordinates: Array, n_steps: Array, *, target: Target) -> _Newton:
    gradient = jax.grad(target.potential)(coordinates)
    curvature = hessian(target.potential, coordinates)
    # A unit diagonal makes the eigenvalues comparable: the coordinates have the units of the data.
    scale = 1 / jnp.sqrt(jnp.abs(jnp.diagonal(curvature)))
    eigenvalues, vectors = jnp.linalg.eigh(curvature * scale[:, None] * scale[None])
    factor = scale[:, None] * vectors / jnp.sqrt(jnp.maximum(jnp.abs(eigenvalues), 1e-10))[None]
    slopes = factor.T @ gradient
    return _Newton(coordinates, -factor @ slopes, factor, 0.5 * slopes @ slopes, eigenvalues[0], n_steps)


def _line_search(state: _Newton, target: Target) -> Array:
    """Best of a full step, its halves down to a thousandth, and staying."""
    fractions = jnp.append(0.5 ** jnp.arange(11.0), 0.0)
    candidates = state.coordinates[None] + fractions[:, None] * state.step[None]
    values = jax.lax.map(target.potential, candidates)
    return candidates[jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))]
