"""The posterior mode and the Gaussian around it: where the chains start, and the shape they move in."""

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


class _Climb(NamedTuple):
    coordinates: Array
    last: Laplace
    n_steps: Array


_MAX_STEPS = 50
_ENOUGH = 1e-12


@jax.jit
def laplace(start: Float[Array, " P"], target: Target) -> Laplace:
    """Climb from `start` to the mode by damped Newton steps on saddle-free curvature.

    References
    ----------
    Dauphin et al. (2014), arXiv 1406.2572 (absolute eigenvalues); Tierney and Kadane (1986),
    doi 10.1080/01621459.1986.10478240.
    """
    size = start.shape[0]
    nowhere = Laplace(start, jnp.zeros((size, size)), jnp.array(jnp.inf), jnp.array(0.0))

    def unfinished(climb: _Climb) -> Array:
        return (climb.last.remaining > _ENOUGH) & (climb.n_steps < _MAX_STEPS)

    def step(climb: _Climb) -> _Climb:
        here, direction = _quadratic(climb.coordinates, target)
        # A search from the mode itself would only wander in rounding errors.
        moved = jnp.where(here.remaining > _ENOUGH, _line_search(here.mode, direction, target), here.mode)
        return _Climb(moved, here, climb.n_steps + 1)

    return jax.lax.while_loop(unfinished, step, _Climb(start, nowhere, jnp.array(0))).last


def _quadratic(coordinates: Array, target: Target) -> tuple[Laplace, Array]:
    """Gaussian with the curvature found here, and Newton's step to where it peaks."""
    gradient = jax.grad(target.potential)(coordinates)
    curvature = hessian(target.potential, coordinates)
    # A unit diagonal makes the eigenvalues comparable: the coordinates have the units of the data.
    scale = 1 / jnp.sqrt(jnp.abs(jnp.diagonal(curvature)))
    eigenvalues, vectors = jnp.linalg.eigh(curvature * scale[:, None] * scale[None])
    factor = scale[:, None] * vectors / jnp.sqrt(jnp.maximum(jnp.abs(eigenvalues), 1e-10))[None]
    slopes = factor.T @ gradient
    return Laplace(coordinates, factor, 0.5 * slopes @ slopes, eigenvalues[0]), -factor @ slopes


def _line_search(coordinates: Array, direction: Array, target: Target) -> Array:
    """Best of a full step, its halves down to a thousandth, and staying."""
    fractions = jnp.append(0.5 ** jnp.arange(11.0), 0.0)
    candidates = coordinates[None] + fractions[:, None] * direction[None]
    values = jax.lax.map(target.potential, candidates)
    return candidates[jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))]
