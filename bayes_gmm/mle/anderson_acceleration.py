r"""Long steps of an iteration s -> s + r(s), from what the last ones showed.

Anderson's method goes to where r, taken as linear through this step and the past ones, is smallest. Near a maximum
that is right, but it looks for any fixed point: beside a saddle it leads down, and far from the fixed point too far.
A careful long step is therefore turned round where it opposes the plain one, and is never longer than so many plain
steps: four times as many after each success, a quarter of them after each failure. A careless one goes all the way,
and when it fails all is forgotten.

References
----------
Anderson (1965), doi 10.1145/321296.321305; for EM Henderson and Varadhan (2019), doi 10.1080/10618600.2019.1594835.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayes_gmm.core.linalg import invert_tril

_MEMORY = 8
_RIDGE = 1e-12
_GROWTH = 4.0
_FARTHEST = 2.0**16


class Past(NamedTuple):
    """What is known of the iteration.

    Attributes
    ----------
    statistics, residuals : (S, K, F)
        Where earlier steps began, and what they added.
    size
        How many they are.
    reach
        How many times as long as a plain step a long one may be.
    """

    statistics: Any
    residuals: Any
    size: Any
    reach: Any


def no_past(shape: tuple[int, ...]) -> Past:
    """Nothing is known of steps of this shape, (..., K, F)."""
    *batch, n_components, n_statistics = shape
    nothing = np.zeros((*batch, _MEMORY, n_components, n_statistics))
    return Past(nothing, nothing.copy(), np.zeros(batch, int), np.full(batch, _GROWTH))


def remember(
    past: Past, statistics: Float[Array, "K F"], residual: Float[Array, "K F"], is_step: Bool[Array, ""]
) -> Past:
    """Past with one more step, in place of the oldest, unless it is none."""
    slot = past.size % _MEMORY
    return past._replace(
        statistics=past.statistics.at[slot].set(jnp.where(is_step, statistics, past.statistics[slot])),
        residuals=past.residuals.at[slot].set(jnp.where(is_step, residual, past.residuals[slot])),
        size=past.size + is_step,
    )


def adapt_reach(past: Past, succeeded: Bool[Array, ""], failed: Bool[Array, ""]) -> Past:
    """Past with what a long step has shown of how far one may go."""
    farther = jnp.where(succeeded, jnp.minimum(_GROWTH * past.reach, _FARTHEST), past.reach)
    return past._replace(reach=jnp.where(failed, jnp.maximum(past.reach / _GROWTH, 1.0), farther))


def forget_if(failed: Bool[Array, ""], past: Past) -> Past:
    """Past without any steps, after a careless one that failed."""
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


def within_reach(
    step: Float[Array, "K F"], residual: Float[Array, "K F"], weights: Float[Array, "K 1"], reach: Float[Array, ""]
) -> Float[Array, "K F"]:
    """The step, shortened if it is longer than `reach` plain ones; so many plain ones where it opposes them."""
    forward = (weights * step * residual).sum() > 0
    plain_length, length = (jnp.sqrt((weights * one**2).sum()) for one in (residual, step))
    return jnp.where(forward, step * jnp.minimum(1.0, reach * plain_length / length), reach * residual)
