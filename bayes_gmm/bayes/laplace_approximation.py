"""Newton's method to a mode of the posterior, and the Gaussian around it by Laplace's approximation."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int

from bayes_gmm.bayes.target import Target
from bayes_gmm.core.linalg import LOG_2PI, cholesky, invert_tril


class Laplace(NamedTuple):
    """Gaussian approximation: coordinates = mode + factor @ standard normal.

    `potential` is minus the log posterior density at the mode, `gradient` its slope. `remaining` is the gain in nats
    that Newton's model still promises (half the squared Newton decrement), zero at a mode. `damping` is what was added
    to the Hessian, scaled to a unit diagonal, to make it positive definite and the steps small enough: zero at a mode.
    """

    mode: Float[Any, "*batch P"]
    factor: Float[Any, "*batch P P"]
    potential: Float[Any, "*batch"]
    gradient: Float[Any, "*batch P"]
    remaining: Float[Any, "*batch"]
    damping: Float[Any, "*batch"]

    @property
    def log_mass(self) -> Float[Any, "*batch"]:
        """Logarithm of the integral of the posterior density, not normalised, over the Gaussian."""
        _, log_volume = np.linalg.slogdet(self.factor)
        return 0.5 * self.mode.shape[-1] * LOG_2PI + log_volume - self.potential

    @property
    def trustworthy(self) -> Bool[Any, "*batch"]:
        """Whether this is a mode with a proper Gaussian around it."""
        return (self.remaining < 1e-6) & (self.damping == 0.0)


def shapes_around(coordinates: Any) -> Laplace:
    """Shapes and types of the Gaussian around a mode with coordinates of this shape (P,)."""
    (P,), number = coordinates.shape, partial(jax.ShapeDtypeStruct, dtype=coordinates.dtype)
    return Laplace(coordinates, number((P, P)), number(()), coordinates, number(()), number(()))


class _Point(NamedTuple):
    """Potential, gradient and Hessian at some coordinates."""

    coordinates: Float[Array, " P"]
    potential: Float[Array, ""]
    gradient: Float[Array, " P"]
    curvature: Float[Array, "P P"]


class _NewtonState(NamedTuple):
    """The best point so far with its Gaussian, its Hessian, and the coordinates to try next."""

    here: Laplace
    curvature: Float[Array, "P P"]
    proposal: Float[Array, " P"]
    n_steps: Int[Array, ""]


_ENOUGH = 1e-12
"""Promised gain in nats below which a mode is reached."""

_ROUNDING = 1e-12
"""Relative rise of the potential that is taken for rounding."""

_SMALLEST_PIVOT = 1e-5
"""Pivot of the Cholesky factor of a Hessian with unit diagonal below which it counts as singular."""

_LEAST_DAMPING = 1e-2
"""First damping where the plain Hessian will not do; below it damping is dropped."""

_MOST_DAMPING = 1e6
"""Damping at which a step is a millionth of a unit and the search has failed."""

_MOST_PROMISED = 100.0
"""Nats that a step along one coordinate may promise where damping is one."""


@jax.jit
def laplace(start: Float[Any, " P"], target: Target, most_steps: int | Array) -> Laplace:
    """Go from `start` towards a mode by Newton steps, damped where the potential would rise.

    With one step the result is the Gaussian at `start` itself.

    References
    ----------
    Levenberg (1944), doi 10.1090/qam/10666, and Marquardt (1963), doi 10.1137/0111030 (damping); Tierney and Kadane
    (1986), doi 10.1080/01621459.1986.10478240.
    """
    start, nothing = jnp.asarray(start), jnp.zeros((len(start), len(start)))
    infinite = jnp.array(jnp.inf)
    nowhere = Laplace(
        mode=start,
        factor=nothing,
        potential=infinite,
        gradient=jnp.zeros_like(start),
        remaining=infinite,
        damping=jnp.array(0.0),
    )

    def unfinished(state: _NewtonState) -> Array:
        return ((state.here.remaining > _ENOUGH) | (state.here.damping > 0)) & (state.n_steps < most_steps)

    def step(state: _NewtonState) -> _NewtonState:
        """Evaluate the proposal, accept it or damp more, and propose again: the data enter the program in one place."""
        last = state.here
        value, gradient, curvature = derivatives(state.proposal, target)
        # A comparison with NaN is false; minus infinity is an overflow. The first proposal is compared with infinity.
        finite = jnp.isfinite(value) & jnp.isfinite(gradient).all() & jnp.isfinite(curvature).all()
        accepted = finite & (value - _ROUNDING * jnp.abs(value) <= last.potential)
        found = _Point(state.proposal, value, gradient, curvature)
        before = _Point(last.mode, last.potential, last.gradient, state.curvature)
        point = jax.tree.map(lambda new, old: jnp.where(accepted, new, old), found, before)
        relaxed = jnp.where(last.damping > _LEAST_DAMPING, last.damping / 8, 0.0)
        damping = jnp.where(accepted, relaxed, jnp.minimum(_more(last.damping), _MOST_DAMPING))
        here, direction = _gaussian(point, damping)
        return _NewtonState(here, point.curvature, here.mode + direction, state.n_steps + 1)

    return jax.lax.while_loop(unfinished, step, _NewtonState(nowhere, nothing, start, jnp.array(0))).here


def derivatives(
    coordinates: Float64[Array, " P"], target: Target
) -> tuple[Float64[Array, ""], Float64[Array, " P"], Float64[Array, "P P"]]:
    """Potential, its gradient and its Hessian.

    The log-likelihood is replaced by its second-order expansion in the natural parameters, which has equal derivatives
    there: the data enter only through the expected statistics and the curvature, one pass each.
    """
    eta = target.natural_parameters(coordinates)[0]
    log_likelihood, statistics = target.data.expected_statistics(eta)
    curvature = target.data.curvature(eta).reshape(eta.size, eta.size)

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
    """Gaussian with this curvature, damped until it is proper, and the step to where it peaks."""
    # Scaled to a unit diagonal, so that one damping serves coordinates of all units. Where the density is steep and
    # straight, as far from a mode, the curvature alone would set no limit to a step; there the gradient does.
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
    found = Laplace(
        mode=point.coordinates,
        factor=factor,
        potential=point.potential,
        gradient=point.gradient,
        remaining=0.5 * slopes @ slopes,
        damping=damping,
    )
    return found, -factor @ slopes


def _more(damping: Array) -> Array:
    return jnp.maximum(4 * damping, _LEAST_DAMPING)
