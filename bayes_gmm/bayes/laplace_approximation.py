"""Newton's method to a mode of the posterior, and the Gaussian around it by Laplace's approximation.

The search runs in NumPy, on one compiled program: the map to natural parameters, the prior, and the gradient of both at
some coordinates, of whose differences the Hessian is made. The data are not in it, so that it is small and serves
tables of every length.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.bayes.target import Target
from bayes_gmm.core.compilation import Programs
from bayes_gmm.core.linalg import LOG_2PI, cholesky_factors, inverse_factor
from bayes_gmm.core.precision import in_threads
from bayes_gmm.core.tuning import n_cores
from bayes_gmm.likelihood.expansion import Expansion, expand, in_numpy


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

    @property
    def ended(self) -> bool:
        """Whether a search for this mode has nothing left to gain."""
        return bool(self.remaining <= _ENOUGH and self.damping == 0)


def shapes_around(coordinates: Any) -> Laplace:
    """Shapes and types of the Gaussian around a mode with coordinates of this shape (P,)."""
    (P,), number = coordinates.shape, partial(jax.ShapeDtypeStruct, dtype=coordinates.dtype)
    return Laplace(coordinates, number((P, P)), number(()), coordinates, number(()), number(()))


class _Point(NamedTuple):
    """Potential, gradient and Hessian at some coordinates."""

    coordinates: Float[np.ndarray, " P"]
    potential: float
    gradient: Float[np.ndarray, " P"]
    curvature: Float[np.ndarray, "P P"]


_ROWS = 64
"""Coordinates at which the gradient is computed by one call."""

_DIFFERENCE = 1e-4
"""Difference of coordinates of size one of which the Hessian is made: its relative error is some 1e-8."""

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


def laplace(
    start: Float[Any, " P"],
    target: Target,
    most_steps: int,
    is_hopeless: Callable[[Laplace], bool] = lambda here: False,
) -> Laplace:
    """Go from `start` towards a mode by Newton steps, damped where the potential would rise; in a scoped float64.

    With one step the result is the Gaussian at `start` itself. A search that `is_hopeless` ends where it is.

    References
    ----------
    Levenberg (1944), doi 10.1090/qam/10666, and Marquardt (1963), doi 10.1137/0111030 (damping); Tierney and Kadane
    (1986), doi 10.1080/01621459.1986.10478240.
    """
    proposal, P = np.asarray(start, float), len(start)
    point = _Point(proposal, np.inf, np.zeros(P), np.zeros((P, P)))
    here = _gaussian(point, 0.0)
    for _ in range(most_steps):
        found = _Point(proposal, *derivatives(proposal, target, highest=point.potential))
        if _is_finite(found):
            point = found
            damping = here.damping / 8 if here.damping > _LEAST_DAMPING else 0.0
        else:
            damping = min(_more(here.damping), _MOST_DAMPING)
        here = _gaussian(point, damping)
        if here.ended or is_hopeless(here):
            break
        proposal = here.mode - here.factor @ (here.factor.T @ here.gradient)
    return here


def laplace_programs(coordinates: Any, target: Target) -> Programs:
    """What compiles the program of `laplace`, for coordinates of this shape."""
    number = partial(jax.ShapeDtypeStruct, dtype=coordinates.dtype)
    rows, statistics = number((_ROWS, *coordinates.shape)), number(target.shape_of_natural_parameters)
    yield lambda: _at_rows.lower(rows, 0, statistics, _without_rows(target)).compile()


def derivatives(
    coordinates: Float[Any, " P"], target: Target, highest: float = np.inf
) -> tuple[float, Float[np.ndarray, " P"], Float[np.ndarray, "P P"]]:
    r"""Potential, its gradient and its Hessian; these two are NaN where it is not finite, or higher than `highest`.

    The data enter only through the value, the gradient and the Hessian of the log-likelihood in the natural parameters
    \(\eta\), one pass each. With these expected statistics s held,

    .. math:: \nabla^2 \log p = J^\top \nabla_\eta^2 \ell \, J + \nabla^2 (s^\top \eta + \log p(\theta)), \qquad
              J = \partial \eta / \partial \theta,

    and J and the last term are central differences, which for the means have no error but rounding.
    """
    coordinates, P, empty = np.asarray(coordinates), len(coordinates), _without_rows(target)
    potential, expansion = _value(coordinates, target, empty)
    if expansion is None or not potential - _ROUNDING * abs(potential) <= highest:
        return potential, np.full(P, np.nan), np.full((P, P), np.nan)
    steps = _DIFFERENCE * target.coordinate_sizes
    around = np.concatenate([coordinates[None], coordinates + np.diag(steps), coordinates - np.diag(steps)])
    found = _each_row(around, expansion.statistics, empty)
    jacobian, second = (
        (leaf[1 : P + 1] - leaf[P + 1 :]).reshape(P, -1) / (2 * steps[:, None])
        for leaf in (found.natural, found.gradient)
    )
    size = expansion.statistics.size
    hessian = -(jacobian @ expansion.curvature.reshape(size, size) @ jacobian.T + second)
    return potential, -found.gradient[0], 0.5 * (hessian + hessian.T)


def potential_at(coordinates: Float[Any, " P"], target: Target) -> float:
    """Minus the log posterior density at some coordinates; NaN or infinite where there is none."""
    return _value(np.asarray(coordinates), target, _without_rows(target))[0]


def _value(coordinates: Float[np.ndarray, " P"], target: Target, empty: Target) -> tuple[float, Expansion | None]:
    """The potential, and what the data say of it; None where it is not finite."""
    there = _each_row(coordinates[None], np.zeros(target.shape_of_natural_parameters), empty)
    if not np.isfinite(there.natural[0]).all():
        return np.nan, None
    expansion = expand(target.data, there.natural[0])
    found = float(_log_volume(target) - there.value[0] - expansion.value)
    return found, expansion if np.isfinite(found) else None


class _Rows(NamedTuple):
    """At some coordinates natural parameters, and the log prior with statistics times these, and its gradient."""

    natural: Float[Any, "R K F"]
    value: Float[Any, " R"]
    gradient: Float[Any, "R P"]


def _each_row(rows: Float[np.ndarray, "R P"], statistics: Float[np.ndarray, "K F"], empty: Target) -> _Rows:
    """`_at_rows` for any number of coordinates, shared among threads."""

    def some(part: np.ndarray) -> _Rows:
        padded = np.pad(part, ((0, _ROWS - len(part)), (0, 0)))
        return jax.device_get(_at_rows(padded, len(part), statistics, empty))

    parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
    if len(parts) == 1:
        found = [some(rows)]
    else:
        with ThreadPoolExecutor(n_cores()) as threads:
            found = list(in_threads(threads, some, parts))
    return _Rows(*(np.concatenate(leaves)[: len(rows)] for leaves in zip(*found, strict=True)))


@jax.jit
def _at_rows(rows: Float[Array, "R P"], count: Int[Array, ""], statistics: Float[Array, "K F"], empty: Target) -> _Rows:
    """One row after another: the compiler takes half as long for a loop as for its operations side by side."""

    def of_row(theta: Array) -> tuple[Array, Array]:
        natural, log_prior = empty.natural_parameters(theta)
        return log_prior + statistics.ravel() @ natural.ravel(), natural

    def once(number: Array, found: _Rows) -> _Rows:
        (value, natural), gradient = jax.value_and_grad(of_row, has_aux=True)(rows[number])
        return jax.tree.map(lambda every, one: every.at[number].set(one), found, _Rows(natural, value, gradient))

    nothing = _Rows(jnp.zeros((_ROWS, *statistics.shape)), jnp.zeros(_ROWS), jnp.zeros_like(rows))
    return jax.lax.fori_loop(0, count, once, nothing)


def _without_rows(target: Target) -> Target:
    return target._replace(data=target.data.without_rows())


def _log_volume(target: Target) -> float:
    data = in_numpy(target.data)
    return float(
        data.log_volume(jax.tree.map(np.asarray, target.scaling)) if data is not target.data else _volume(target)
    )


@jax.jit
def _volume(target: Target) -> Float[Array, ""]:
    return target.log_volume


def _is_finite(point: _Point) -> bool:
    # Minus infinity is an overflow.
    return all(np.isfinite(part).all() for part in point[1:])


# Where there is no density nothing is finite, which is said by the potential.
@np.errstate(divide="ignore", invalid="ignore")
def _gaussian(point: _Point, damping: float) -> Laplace:
    """Gaussian with this curvature, damped until it is proper."""
    # Scaled to a unit diagonal, so that one damping serves coordinates of all units. Where the density is steep and
    # straight, as far from a mode, the curvature alone would set no limit to a step; there the gradient does.
    squares = np.maximum(np.abs(np.diagonal(point.curvature)), point.gradient**2 / _MOST_PROMISED)
    scale = 1 / np.sqrt(squares)
    scaled = point.curvature * scale[:, None] * scale[None]
    triangle = np.full_like(scaled, np.nan)
    if np.isfinite(scaled).all():
        damping, triangle = _proper(scaled, damping)
    factor = scale[:, None] * inverse_factor(triangle).T
    slopes = factor.T @ point.gradient
    return Laplace(
        mode=point.coordinates,
        factor=factor,
        potential=point.potential,
        gradient=point.gradient,
        remaining=0.5 * slopes @ slopes,
        damping=damping,
    )


def _proper(scaled: Float[np.ndarray, "P P"], damping: float) -> tuple[float, Float[np.ndarray, "P P"]]:
    """The least damping, of those tried, with which the matrix is positive definite, and its Cholesky factor."""
    while True:
        triangle = cholesky_factors(scaled + damping * np.eye(len(scaled)))
        if np.diagonal(triangle).min() > _SMALLEST_PIVOT or damping > _MOST_DAMPING:
            return damping, triangle
        damping = _more(damping)


def _more(damping: float) -> float:
    return max(4 * damping, _LEAST_DAMPING)
