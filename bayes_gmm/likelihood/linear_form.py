r"""The one kernel from which EM and NUTS are both built.

A Gaussian's log density is linear in phi(x) = [1, x, vech(x x')], so with natural parameters eta

.. math:: \ell(\eta) = \sum_n w_n \log \sum_k \exp(\eta_k^\top \phi(x_n)), \qquad
          \frac{\partial \ell}{\partial \eta_k} = \sum_n w_n r_{nk} \phi(x_n).

The gradient *is* the E-step (Fisher's identity, in the unnormalised form: the normaliser sits in the
coefficient of the feature 1). One pass over the data yields both; EM follows it by an M-step, NUTS
differentiates it. Expanding the square cancels, with a relative error near eps (|x| / sd)^2, so the points are
always in unit coordinates (`scaling`), and components narrower than a floor are not trusted (`em`).

References
----------
Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x; Fisher's identity: Cappe, Moulines and
Ryden (2005), Inference in Hidden Markov Models, doi 10.1007/0-387-28982-8, section 10.1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from bayes_gmm.core.linalg import LOG_2PI, invert_tril, log_diagonal, unvech, vech
from bayes_gmm.likelihood.blocks import _THIN, Blocks
from bayes_gmm.mixture.mixture import Mixture


def features(points: Float[Array, "D B"]) -> Float[Array, "F B"]:
    """Sufficient statistics phi(x) = [1, x, vech(x x')] of each point."""
    return jnp.concatenate([jnp.ones_like(points[:1]), points, _squares(points)])


def natural(mixture: Mixture) -> Float[Array, "K F"]:
    r"""Natural parameters: eta_k with \(\eta_k^\top \phi(x) = \log \pi_k + \log N(x | \mu_k, \Sigma_k)\)."""
    whitening = invert_tril(mixture.scale_tril)
    precision = whitening.mT @ whitening
    linear = (precision @ mixture.means[..., None])[..., 0]
    normaliser = log_diagonal(whitening) - 0.5 * mixture.n_features * LOG_2PI
    constant = mixture.log_weights + normaliser - 0.5 * (linear * mixture.means).sum(-1)
    # An off-diagonal element of the precision appears twice in x' P x.
    multiplicity = vech(np.eye(mixture.n_features) - 2.0) / 2
    return jnp.concatenate([constant[..., None], linear, vech(precision) * multiplicity[None]], -1)


type Assignment = Callable[[Array, Array], tuple[Array, Array]]
"""From log joint densities (K, B) and weights (B,) to the block's objective and the weighted shares (K, B)."""


def soft(logits: Float[Array, "K B"], weights: Float[Array, " B"]) -> tuple[Array, Array]:
    """Weighted log densities with the labels summed out, and weighted responsibilities."""
    top = logits.max(0)
    # Alone in its loop the exponential compiles to the widest vector instructions: half the time.
    joint = jnp.exp(lax.optimization_barrier(logits - top[None]))
    density = joint.sum(0)
    return jnp.dot(top + jnp.log(density), weights), joint * (weights / density)[None]


def hard(logits: Float[Array, "K B"], weights: Float[Array, " B"]) -> tuple[Array, Array]:
    """Weighted log joint densities with the most probable labels, to which each point goes whole."""
    shares = jax.nn.one_hot(logits.argmax(0), len(logits), dtype=logits.dtype, axis=0) * weights[None]
    return jnp.dot(logits.max(0), weights), shares


def expected_statistics(
    eta: Float[Array, "K F"], data: Blocks, assignment: Assignment = soft
) -> tuple[Float[Array, ""], Float[Array, "K F"]]:
    """Marginal log-likelihood and expected statistics sum_n w_n r_nk phi(x_n), in one pass.

    With `hard` assignment the classification likelihood, in which labels are maximised over rather than summed out.
    """
    points, weights = jnp.asarray(data.points), jnp.asarray(data.weights)
    eta = lax.optimization_barrier(eta)
    block_statistics = partial(_thin_block if points.shape[1] <= _THIN else _wide_block, eta, assignment=assignment)

    def add_block(number: Any, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, block_statistics(points[number], weights[number]))

    if len(points) == 1:
        total = block_statistics(points[0], weights[0])
    else:
        zero = jax.tree.map(jnp.zeros_like, jax.eval_shape(block_statistics, points[0], weights[0]))
        total = lax.fori_loop(data.first, data.stop, add_block, zero)
    # The barrier keeps the final transpose from being folded into every block's matrix products.
    value, statistics = lax.optimization_barrier(total)
    return value, jnp.concatenate(statistics).T


@jax.custom_jvp
def log_likelihood(eta: Float[Array, "K F"], data: Blocks) -> Float[Array, ""]:
    """Marginal log-likelihood sum_n w_n log p(x_n), whose gradient in eta costs no second pass."""
    return expected_statistics(eta, data)[0]


@log_likelihood.defjvp
def _log_likelihood_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    value, statistics = expected_statistics(*primals)
    return value, (statistics * tangents[0]).sum()


def curvature(eta: Float[Array, "K F"], data: Blocks) -> Float[Array, "K F K F"]:
    r"""Hessian of the log-likelihood: sum_n w_n (r_nk [k = l] - r_nk r_nl) phi(x_n) phi(x_n)', by matrix products."""
    points, weights = jnp.asarray(data.points), jnp.asarray(data.weights)
    size = eta.size

    def add_block(number: Any, total: Array) -> Array:
        phi = features(points[number])
        shares = jax.nn.softmax(eta @ phi, axis=0)
        weighted = shares * weights[number][None]
        own = (weighted[:, None] * phi[None]) @ phi.T
        scores = (shares[:, None] * phi[None]).reshape(size, -1)
        between = (scores * weights[number][None]) @ scores.T
        within = jnp.eye(len(eta))[:, None, :, None] * own[:, :, None, :]
        return total + within.reshape(size, size) - between

    total = lax.fori_loop(data.first, data.stop, add_block, jnp.zeros((size, size)))
    return total.reshape(*eta.shape, *eta.shape)


def moments(statistics: Float[Array, "K F"], n_features: int) -> tuple[Array, Array, Array]:
    """Weighted counts (K,), means (K, D) and covariances (K, D, D) of statistics: the M-step's raw material."""
    counts, sums, squares = jnp.split(statistics, [1, 1 + n_features], axis=-1)
    means = sums / counts
    covariances = unvech(squares / counts, n_features) - means[..., :, None] * means[..., None, :]
    return counts[..., 0], means, covariances


def statistics_of(counts: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """Statistics (..., K, F) that have these moments: the inverse of `moments`."""
    squares = np.asarray(vech(covariances + means[..., :, None] * means[..., None, :]))
    return counts[..., None] * np.concatenate([np.ones_like(means[..., :1]), means, squares], -1)


def _thin_block(eta: Array, points: Array, weights: Array, assignment: Assignment) -> tuple[Array, tuple[Array, ...]]:
    """Log-likelihood and statistics (F, K) of a block with one or two features: too thin for matrix products."""
    phi = [*features(points)]
    logits = jnp.stack([sum(c * f for c, f in zip(row[1:], phi[1:], strict=True)) + row[0] for row in eta])
    value, shares = assignment(lax.optimization_barrier(logits), weights)
    stacked = lax.optimization_barrier(jnp.stack(phi))
    return value, (jnp.stack([stacked @ share for share in shares], 1),)


def _wide_block(eta: Array, points: Array, weights: Array, assignment: Assignment) -> tuple[Array, tuple[Array, ...]]:
    """The same by matrix products, one for each kind of feature, which saves putting them together."""
    linear = 1 + points.shape[0]
    squares = _squares(points)
    logits = eta[:, linear:] @ squares + (eta[:, 1:linear] @ points + eta[:, :1])
    value, shares = assignment(logits, weights)
    return value, (shares.sum(1)[None], points @ shares.T, squares @ shares.T)


def _squares(points: Float[Array, "D B"]) -> Float[Array, "V B"]:
    if len(points) <= _THIN:
        return jnp.concatenate([points[i : i + 1] * points[: i + 1] for i in range(len(points))])
    rows, columns = np.tril_indices(points.shape[0])
    return points[rows] * points[columns]
