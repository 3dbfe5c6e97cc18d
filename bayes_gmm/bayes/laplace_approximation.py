"""The posterior mode and the Gaussian around it: where the chains start, and the shape they move in."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.bayes.target import Target
from bayes_gmm.core.linalg import LOG_2PI, cholesky, invert_tril
from bayes_gmm.likelihood import linear_form


class Laplace(NamedTuple):
    """Gaussian approximation: coordinates = mode + factor @ standard normal.

    `potential` is minus the log posterior density at the mode, `gradient` its slope. `remaining` is what Newton's model
    still promises to gain in nats (half the squared Newton decrement), zero at a mode. `damping` is what was added to
    the Hessian, scaled to a unit diagonal, to make it positive definite and the steps small enough: nothing at a mode.
    """

    mode: Any
    factor: Any
    potential: Any
    gradient: Any
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


def shapes_around(coordinates: Any) -> Laplace:
    """Shapes and types of the Gaussian around a mode with coordinates of this shape (P,)."""
    (P,), number = coordinates.shape, partial(jax.ShapeDtypeStruct, dtype=coordinates.dtype)
    return Laplace(coordinates, number((P, P)), number(()), coordinates, number(()), number(()))


class _Point(NamedTuple):
    coordinates: Array
    potential: Array
    gradient: Array
    curvature: Array


class _Climb(NamedTuple):
    here: Laplace
    curvature: Array
    proposal: Array
    n_steps: Array


_ENOUGH = 1e-12
_ROUNDING = 1e-12
_SMALLEST_PIVOT = 1e-5
_LEAST_DAMPING = 1e-2
_MOST_DAMPING = 1e6
_MOST_PROMISED = 100.0
"""Nats that a step along one coordinate may promise where damping is one."""


@jax.jit
def laplace(start: Float[Any, " P"], target: Target, most_steps: int | Array) -> Laplace:
    """Climb from `start` towards a mode by Newton steps, damped where they do not climb; with one step, look around.

    References
    ----------
    Levenberg (1944), doi 10.1090/qam/10666, and Marquardt (1963), doi 10.1137/0111030 (damping); Tierney and Kadane
    (1986), doi 10.1080/01621459.1986.10478240.
    """
    start, nothing = jnp.asarray(start), jnp.zeros((len(start), len(start)))
    nowhere = Laplace(start, nothing, jnp.array(jnp.inf), jnp.zeros_like(start), jnp.array(jnp.inf), jnp.array(0.0))

    def unfinished(climb: _Climb) -> Array:
        return ((climb.here.remaining > _ENOUGH) | (climb.here.damping > 0)) & (climb.n_steps < most_steps)

    def step(climb: _Climb) -> _Climb:
        """Look at the proposal, take it or damp more, and propose again: the data enter this program in one place."""
        last = climb.here
        value, gradient, curvature = derivatives(climb.proposal, target)
        # Not a number compares false; minus infinity is an overflow. The first proposal is compared with infinity.
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all() & jnp.isfinite(curvature).all()
        climbs = finite & (value - _ROUNDING * jnp.abs(value) <= last.potential)
        found = _Point(climb.proposal, value, gradient, curvature)
        before = _Point(last.mode, last.potential, last.gradient, climb.curvature)
        point = jax.tree.map(lambda new, old: jnp.where(climbs, new, old), found, before)
        relaxed = jnp.where(last.damping > _LEAST_DAMPING, last.damping / 8, 0.0)
        damping = jnp.where(climbs, relaxed, jnp.minimum(_more(last.damping), _MOST_DAMPING))
        here, direction = _gaussian(point, damping)
        return _Climb(here, point.curvature, here.mode + direction, climb.n_steps + 1)

    return jax.lax.while_loop(unfinished, step, _Climb(nowhere, nothing, start, jnp.array(0))).here


def derivatives(coordinates: Array, target: Target) -> tuple[Array, Array, Array]:
    """Potential, its gradient and its Hessian.

    The log-likelihood is replaced by its second-order expansion in the natural parameters, which has the same
    derivatives there: the data enter through the kernel's statistics and curvature alone, one pass each.
    """
    eta = target.natural_parameters(coordinates)[0]
    log_likelihood, statistics = linear_form.expected_statistics(eta, target.data)
    curvature = linear_form.curvature(eta, target.data).reshape(eta.size, eta.size)

    def potential(theta: Array) -> Array:
        moved, log_prior = target.natural_parameters(theta)
        change = (moved - eta).ravel()
        expanded = log_likelihood + statistics.ravel() @ change + 0.5 * change @ curvature @ change
        return -(expanded - target.log_volume + log_prior)

    def gradient(theta: Array) -> tuple[Array, tuple[Array, Array]]:
        value, slope = jax.value_and_grad(potential)(theta)
        return slope, (value, slope)

    hessian, (value, slope) = jax.jacfwd(gradient, has_aux=True)(coordinates)
    return value, slope, hessian


def _gaussian(point: _Point, damping: Array) -> tuple[Laplace, Array]:
    """Gaussian with this curvature, damped at least so much and until it is one, and the step to where it peaks."""
    # A unit diagonal makes one damping serve all: the coordinates have the units of the data.
    # Where the density is steep and straight, as far from the mode, the curvature alone would set no limit to a step.
    scale = 1 / jnp.sqrt(jnp.maximum(jnp.abs(jnp.diagonal(point.curvature)), point.gradient**2 / _MOST_PROMISED))
    scaled = point.curvature * scale[:, None] * scale[None]

    def improper(attempt: tuple[Array, Array, Array]) -> Array:
        return ~(jnp.diagonal(attempt[1]).min() > _SMALLEST_PIVOT) & (attempt[2] <= _MOST_DAMPING)

    def damp(attempt: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        tried = attempt[2]
        return tried, cholesky(scaled + tried * jnp.eye(len(scale))), _more(tried)

    damping, triangle, _ = jax.lax.while_loop(improper, damp, (damping, jnp.full_like(scaled, jnp.nan), damping))
    factor = scale[:, None] * invert_tril(triangle).T
    slopes = factor.T @ point.gradient
    return Laplace(
        point.coordinates, factor, point.potential, point.gradient, 0.5 * slopes @ slopes, damping
    ), -factor @ slopes


def _more(damping: Array) -> Array:
    return jnp.maximum(4 * damping, _LEAST_DAMPING)
