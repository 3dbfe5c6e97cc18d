r"""Extrapolated steps of an iteration s -> s + r(s), from the residuals r of the last steps.

Anderson's method goes to where r, taken as linear through this step and the past ones, is smallest. Near a maximum that
is right, but the method looks for any fixed point: beside a saddle it leads down, and far from the fixed point too far.
A guarded step is therefore turned round where it opposes the plain one, and is never longer than a trust radius,
counted in plain steps, which grows fourfold after each success and shrinks to a quarter after each failure. An
unguarded step goes all the way, and when it fails the past is forgotten.

References
----------
Anderson (1965), doi 10.1145/321296.321305; for EM Henderson and Varadhan (2019), doi 10.1080/10618600.2019.1594835.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.linalg import cholesky_factors, choose, invert_tril, namespace, numbers_along, with_entry

MEMORY = 8
"""Past steps that are combined: with more of them the least squares grow ill-conditioned."""

_RIDGE = 1e-12
"""Added to the normal equations, relative to their trace: past steps may be parallel to rounding."""

_GROWTH = 4.0
"""Factor of the trust radius after a success or a failure; also the radius at the beginning."""

_LARGEST_RADIUS = 2.0**16
"""Bound on the trust radius, in plain steps, so that a row of successes cannot let it overflow."""


class Past(NamedTuple):
    """Earlier steps of the iteration, and how far an extrapolated step may go.

    Attributes
    ----------
    statistics, residuals : (S, K, F)
        Where earlier steps began, and what they added.
    size
        Number of them.
    radius
        Largest length of a guarded step, in lengths of a plain one.
    """

    statistics: Float[Any, "*batch S K F"]
    residuals: Float[Any, "*batch S K F"]
    size: Int[Any, "*batch"]
    radius: Float[Any, "*batch"]


def no_past(shape: tuple[int, ...]) -> Past:
    """Past before the first step, for statistics of this shape, (..., K, F)."""
    *batch, n_components, n_statistics = shape
    nothing = np.zeros((*batch, MEMORY, n_components, n_statistics))
    return Past(nothing, nothing.copy(), np.zeros(batch, int), np.full(batch, _GROWTH))


def remember(past: Past, statistics: Any, residual: Any, is_step: Any) -> Past:
    """Past with one more step in place of the oldest; unchanged where `is_step` is false."""
    if isinstance(is_step, np.ndarray) and not is_step.any():
        return past
    slot = past.size % MEMORY
    steps = (past.statistics, statistics), (past.residuals, residual)
    kept, changes = (with_entry(old, slot, choose(is_step, new, _entry(old, slot))) for old, new in steps)
    return Past(kept, changes, past.size + is_step, past.radius)


def _entry(array: Any, number: Any) -> Any:
    """Entry `number` (...) of an array (..., S, K, F) along the axis of S."""
    return array[(*numbers_along(np.shape(number)), number)]


def adapt_radius(past: Past, succeeded: Any, failed: Any) -> Past:
    """Past with the trust radius that follows from the last extrapolated step."""
    xp = namespace(past.radius, failed)
    larger = xp.where(succeeded, xp.minimum(_GROWTH * past.radius, _LARGEST_RADIUS), past.radius)
    return past._replace(radius=xp.where(failed, xp.maximum(past.radius / _GROWTH, 1.0), larger))


def restart_if(failed: Any, past: Past) -> Past:
    """Past without any steps where an unguarded step failed."""
    return past._replace(size=namespace(failed, past.size).where(failed, 0, past.size))


def anderson_step(past: Past, statistics: Any, residual: Any, weights: Any) -> Any:
    """Anderson's step (..., K, F), with weighted least squares; weights (..., K, 1)."""
    xp = namespace(statistics)
    filled = (np.arange(MEMORY) < past.size[..., None])[..., None, None]
    inputs = xp.where(filled, past.statistics - statistics[..., None, :, :], 0.0)
    changes = xp.where(filled, past.residuals - residual[..., None, :, :], 0.0)
    flat = changes.reshape(*changes.shape[:-2], -1)
    weighted = (changes * weights[..., None, :, :]).reshape(flat.shape)
    gram = weighted @ flat.mT
    target = weighted @ residual.reshape(*residual.shape[:-2], -1, 1)
    ridge = _RIDGE * xp.trace(gram, axis1=-2, axis2=-1) + np.finfo(gram.dtype).tiny
    ridge = ridge[..., None, None] * np.eye(MEMORY)[(None,) * (gram.ndim - 2)]
    whitening = invert_tril(cholesky_factors(gram + ridge))
    shares = whitening.mT @ (whitening @ target)
    combined = shares.mT @ (inputs.reshape(flat.shape) + flat)
    return residual - combined.reshape(residual.shape)


def guarded(step: Any, residual: Any, weights: Any, radius: Any) -> Any:
    """The step, shortened to the trust radius; where it opposes the plain step, the plain step of that length."""
    xp = namespace(step)
    forward = (weights * step * residual).sum((-2, -1)) > 0
    plain_length, length = (xp.sqrt((weights * one**2).sum((-2, -1))) for one in (residual, step))
    shortened = step * xp.minimum(1.0, radius * plain_length / length)[..., None, None]
    return choose(forward, shortened, radius[..., None, None] * residual)
