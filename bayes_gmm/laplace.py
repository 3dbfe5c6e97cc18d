"""The posterior mode and the Gaussian around it: where the chains start, and the shape they move in."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import kernel
from .linalg import LOG_2PI, cholesky, invert_tril
from .posterior_problem import Target


class Laplace(NamedTuple):
    """Gaussian approximation: coordinates = mode + factor @ standard normal.

    `potential` is minus the log posterior density at the mode. `remaining` is what Newton's model still promises to
    gain in nats (half the squared Newton decrement), zero at a mode. `damping` is what had to be added to the Hessian,
    scaled to a unit diagonal, before it was positive definite: nothing at a mode.
    """

    mode: Any
    factor: Any
    potential: Any
    remaining: Any
    damping: Any

    @property
    def log_mass(self) -> Any:
        """Logarithm of the integral of the posterior density, not normalised, over the Gaussian."""
        _, log_volume = np.linalg.slogdet(self.factor)
        return 0.5 * self.mode.shape[-1] * LOG_2PI + log_volume - self.potential

    @property
    def trustworthy(self) -> Any:
        """Whether this is a mode with a proper Gaussian around it."""
        return (self.remaining < 1e-6) & (self.damping == 0.0)


class _Climb(NamedTuple):
    coordinates: Array
    last: Laplace
    n_steps: Array


_ENOUGH = 1e-12
_SMALLEST_PIVOT = 1e-5
_LEAST_DAMPING = 1e-2
_MOST_DAMPING = 1e6


@jax.jit
def laplace(start: Float[Array, " P"], target: Target, most_steps: int | Array = 50) -> Laplace:
    """Climb from `start` to the mode by damped Newton steps on saddle-free curvature.

    References
    ----------
    Dauphin et al. (2014), arXiv 1406.2572 (absolute eigenvalues); Tierney and Kadane (1986),
    doi 10.1080/01621459.1986.10478240.
    """
    size = start.shape[0]
    nowhere = Laplace(start, jnp.zeros((size, size)), jnp.array(jnp.inf), jnp.array(jnp.inf), jnp.array(0.0))

    def unfinished(climb: _Climb) -> Array:
        return ((climb.last.remaining > _ENOUGH) | (climb.last.damping > 0)) & (climb.n_steps < most_steps)

    def step(climb: _Climb) -> _Climb:
        here, direction = _quadratic(climb.coordinates, target)
        # A search from the mode itself would only wander in rounding errors.
        moved = jnp.where(
            (here.remaining > _ENOUGH) | (here.damping > 0), _line_search(here.mode, direction, target), here.mode
        )
        return _Climb(moved, here, climb.n_steps + 1)

    return jax.lax.while_loop(unfinished, step, _Climb(start, nowhere, jnp.array(0))).last


def derivatives(coordinates: Array, target: Target) -> tuple[Array, Array, Array]:
    """Potential, its gradient and its Hessian, by the chain rule through the natural parameters.

    The data enter through the kernel's statistics and curvature alone, one pass each; the rest is small.
    """

    def natural(theta: Array) -> Array:
        return target.natural_parameters(theta)[0].ravel()

    eta, log_prior = target.natural_parameters(coordinates)
    log_likelihood, slope = kernel.expected_statistics(eta, target.data)
    curvature = kernel.curvature(eta, target.data).reshape(eta.size, eta.size)
    jacobian = jax.jacfwd(natural)(coordinates)

    def bent(theta: Array) -> Array:
        moved, log_prior = target.natural_parameters(theta)
        return (slope * moved).sum() + log_prior

    gradient, bend = jax.grad(bent)(coordinates), jax.hessian(bent)(coordinates)
    value = -(log_likelihood - target.log_volume + log_prior)
    return value, -gradient, -(jacobian.T @ curvature @ jacobian + bend)


def _quadratic(coordinates: Array, target: Target) -> tuple[Laplace, Array]:
    """Gaussian with the curvature found here, damped until it is one, and Newton's step to where it peaks."""
    value, gradient, curvature = derivatives(coordinates, target)
    # A unit diagonal makes one damping serve all: the coordinates have the units of the data.
    scale = 1 / jnp.sqrt(jnp.abs(jnp.diagonal(curvature)))
    scaled = curvature * scale[:, None] * scale[None]

    def improper(attempt: tuple[Array, Array]) -> Array:
        # Not a number compares false.
        return ~(jnp.diagonal(attempt[1]).min() > _SMALLEST_PIVOT) & (attempt[0] < _MOST_DAMPING)

    def damp(attempt: tuple[Array, Array]) -> tuple[Array, Array]:
        damping = jnp.maximum(4 * attempt[0], _LEAST_DAMPING)
        return damping, cholesky(scaled + damping * jnp.eye(len(scale)))

    damping, triangle = jax.lax.while_loop(improper, damp, (jnp.array(0.0), cholesky(scaled)))
    factor = scale[:, None] * invert_tril(triangle).T
    slopes = factor.T @ gradient
    return Laplace(coordinates, factor, value, 0.5 * slopes @ slopes, damping), -factor @ slopes


def _line_search(coordinates: Array, direction: Array, target: Target) -> Array:
    """Best of a full step, its halves down to a thousandth, and staying."""
    fractions = jnp.append(0.5 ** jnp.arange(11.0), 0.0)
    candidates = coordinates[None] + fractions[:, None] * direction[None]
    values = jax.lax.map(target.potential, candidates)
    return candidates[jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))]
