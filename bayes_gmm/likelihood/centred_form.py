r"""The E-step around each component's own mean: slower than the linear form, and exact for components of any width.

Expanding the square costs digits where a component is much narrower than the data. Here no square is expanded,

.. math:: (x - \mu_k)^\top \Sigma_k^{-1} (x - \mu_k) = |L_k^{-1} (x - \mu_k)|^2,

and the new moments are taken about the old means, from which they are not far.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from bayes_gmm.core.linalg import LOG_2PI, inverse_factor, log_diagonal
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.blocks import Blocks
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.mixture.degrees_of_freedom import log_tail
from bayes_gmm.mixture.gaps import group_by_gaps, seen_part
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise

_ROWS_AT_ONCE = 4096
"""Rows whose offsets from a mean are held at a time."""


def log_joint_densities(mixture: Mixture, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N _"]:
    """Log joint density of each row and label, in NumPy: a fit asks for it once, which is not worth compiling.

    That of a row with cells that are NaN, which were not seen, is that of the others. After the components comes noise,
    where there is any.
    """
    mixture = jax.tree.map(np.asarray, mixture)
    if not np.isnan(x).any():
        parts = mixture.log_weights, mixture.means, mixture.scale_tril
        joint = _log_joint_densities(*parts, x, mixture.degrees_of_freedom)
        return _beside_noise(joint, mixture.noise)
    seen, group = group_by_gaps(x)
    found = np.empty((len(x), mixture.n_components + (mixture.noise is not None)))
    for number, cells in enumerate(seen):
        rows = group == number
        there = seen_part(mixture.log_weights, mixture.means, mixture.scale_tril, cells)
        joint = _log_joint_densities(
            *there, np.where(cells, x[rows], 0.0), mixture.degrees_of_freedom, n_seen=int(cells.sum())
        )
        found[rows] = _beside_noise(joint, mixture.noise and mixture.noise.seen_part(cells))
    return found


def _beside_noise(joint: Float[np.ndarray, "N K"], noise: Noise | None) -> Float[np.ndarray, "N _"]:
    """Log joint densities with one more column for noise."""
    return joint if noise is None else np.append(joint, np.full((len(joint), 1), noise.log_joint), 1)


def _log_joint_densities(
    log_weights: Float[np.ndarray, " K"],
    means: Float[np.ndarray, "K D"],
    scale_tril: Float[np.ndarray, "K D D"],
    x: Float[np.ndarray, "N D"],
    degrees: Float[np.ndarray, " K"] | None = None,
    n_seen: int | None = None,
) -> Float[np.ndarray, "N K"]:
    """Log joint densities of points, of whose columns so many count for heavy tails, or all."""
    whitening = inverse_factor(scale_tril)
    log_determinants = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(1)
    constants = log_weights + log_determinants - 0.5 * means.shape[1] * LOG_2PI
    squares = np.empty((len(x), len(means)))
    for start in range(0, len(x), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        for k, (mean, whiten) in enumerate(zip(means, whitening, strict=True)):
            squares[rows, k] = (((x[rows] - mean) @ whiten.T) ** 2).sum(1)
    if degrees is None:
        return constants - 0.5 * squares
    return constants + log_tail(squares, degrees, means.shape[1] if n_seen is None else n_seen)


class ExpectedMoments(NamedTuple):
    """Marginal log-likelihood of the data, and the moments of what each component is responsible for."""

    log_likelihood: Float[Array, ""]
    moments: Moments


def expected_moments(mixture: Mixture, data: Blocks) -> ExpectedMoments:
    """E-step in the centred form; a component without points keeps its mean and gets a covariance of zero."""
    whitening = mixture.whitening
    constants = mixture.log_weights + log_diagonal(whitening) - 0.5 * mixture.n_features * LOG_2PI
    points, weights = jnp.asarray(data.points), jnp.asarray(data.weights)

    def of_block(number: Array) -> tuple[Array, ...]:
        offsets = points[number][None] - mixture.means[..., None]
        squares = ((whitening @ offsets) ** 2).sum(1)
        value, shares = linear_form.soft(constants[:, None] - 0.5 * squares, weights[number])
        shared = offsets * shares[:, None, :]
        return value, shares.sum(1), shared.sum(-1), shared @ offsets.mT

    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of_block, jnp.array(0)))
    value, counts, sums, products = lax.fori_loop(
        data.first, data.stop, lambda number, total: jax.tree.map(jnp.add, total, of_block(number)), zero
    )
    moves, squares = _averages(counts, sums, products)
    moments = Moments(counts, mixture.means + moves, squares - moves[:, :, None] * moves[:, None, :])
    return ExpectedMoments(value, moments)


def expected_variances(mixture: Mixture, data: Blocks) -> ExpectedMoments:
    """E-step of a mixture with diagonal covariances, whose new covariances are diagonal as well.

    It is `expected_moments` without the products of different features: of each point and component it keeps D numbers.
    """
    scales = jnp.diagonal(mixture.scale_tril, axis1=1, axis2=2)
    constants = mixture.log_weights - jnp.log(scales).sum(1) - 0.5 * mixture.n_features * LOG_2PI
    points, weights = jnp.asarray(data.points), jnp.asarray(data.weights)

    def of_block(number: Array) -> tuple[Array, ...]:
        offsets = points[number][None] - mixture.means[..., None]
        squares = ((offsets / scales[..., None]) ** 2).sum(1)
        value, shares = linear_form.soft(constants[:, None] - 0.5 * squares, weights[number])
        shared = offsets * shares[:, None, :]
        return value, shares.sum(1), shared.sum(-1), (shared * offsets).sum(-1)

    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of_block, jnp.array(0)))
    value, counts, sums, products = lax.fori_loop(
        data.first, data.stop, lambda number, total: jax.tree.map(jnp.add, total, of_block(number)), zero
    )
    safe = jnp.where(counts > 0, counts, 1.0)[:, None]
    moves = sums / safe
    variances = products / safe - moves**2
    return ExpectedMoments(value, Moments(counts, mixture.means + moves, jax.vmap(jnp.diag)(variances)))


def _averages(counts: Array, sums: Array, products: Array) -> tuple[Array, Array]:
    safe = jnp.where(counts > 0, counts, 1.0)
    return sums / safe[:, None], products / safe[:, None, None]
