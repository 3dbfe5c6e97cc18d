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

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.core.linalg import invert_tril

_MEMORY = 8
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
    nothing = np.zeros((*batch, _MEMORY, n_components, n_statistics))
    return Past(nothing, nothing.copy(), np.zeros(batch, int), np.full(batch, _GROWTH))


def remember(
    past: Past, statistics: Float[Array, "K F"], residual: Float[Array, "K F"], is_step: Bool[Array, ""]
) -> Past:
    """Past with one more step in place of the oldest; unchanged where `is_step` is false."""
    slot = past.size % _MEMORY
    return past._replace(
        statistics=past.statistics.at[slot].set(jnp.where(is_step, statistics, past.statistics[slot])),
        residuals=past.residuals.at[slot].set(jnp.where(is_step, residual, past.residuals[slot])),
        size=past.size + is_step,
    )


def adapt_radius(past: Past, succeeded: Bool[Array, ""], failed: Bool[Array, ""]) -> Past:
    """Past with the trust radius that follows from the last extrapolated step."""
    larger = jnp.where(succeeded, jnp.minimum(_GROWTH * past.radius, _LARGEST_RADIUS), past.radius)
    return past._replace(radius=jnp.where(failed, jnp.maximum(past.radius / _GROWTH, 1.0), larger))


def restart_if(failed: Bool[Array, ""], past: Past) -> Past:
    """Past without any steps where an unguarded step failed."""
    return past._replace(size=jnp.where(failed, 0, past.size))


def anderson_step(
    past: Past, statistics: Float[Array, "K F"], residual: Float[Array, "K F"], weights: Float[Array, "K 1"]
) -> Float[Array, "K F"]:
    """Anderson's step, with weighted least squares."""
    filled = (jnp.arange(_MEMORY) < past.size)[:, None, None]
    inputs = jnp.where(filled, past.statistics - statistics[None], 0.0)
    changes = jnp.where(filled, past.residuals - residual[None], 0.0)
    gram = jnp.einsum("skf,tkf->st", changes * weights[None], changes)
    target = jnp.einsum("skf,kf->s", changes * weights[None], residual)
    ridge = _RIDGE * jnp.trace(gram) + np.finfo(gram.dtype).tiny
    whitening = invert_tril(jnp.linalg.cholesky(gram + ridge * jnp.eye(_MEMORY)))
    shares = whitening.T @ (whitening @ target)
    return residual - jnp.tensordot(shares, inputs + changes, 1)


def guarded(
    step: Float[Array, "K F"], residual: Float[Array, "K F"], weights: Float[Array, "K 1"], radius: Float[Array, ""]
) -> Float[Array, "K F"]:
    """The step, shortened to the trust radius; where it opposes the plain step, the plain step of that length."""
    forward = (weights * step * residual).sum() > 0
    plain_length, length = (jnp.sqrt((weights * one**2).sum()) for one in (residual, step))
    return jnp.where(forward, step * jnp.minimum(1.0, radius * plain_length / length), radius * residual)
