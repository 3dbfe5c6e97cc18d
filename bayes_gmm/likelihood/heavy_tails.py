r"""The likelihood of complete rows under components that are multivariate t distributions.

A t distributed row is normal with a precision of its own, drawn from a gamma distribution: x ~ N(mu, S / tau), tau ~
Gamma(nu / 2, nu / 2). With tau the row is complete, and its log density is linear in [1, tau x, tau vech(x x'), tau,
log tau]: an exponential family again. Integrating tau out leaves, with c = (nu + D) / 2,

.. math:: f_k(x) = a_k - c_k \log(1 + \delta_k(x) / c_k), \qquad
          \delta_k(x) = \tfrac12 (d_k^2(x) - D) = b_k - l_k^\top x - q_k^\top \mathrm{vech}(x x^\top),

where l and q are the linear and quadratic natural parameters of the Gaussian, to which f goes as c grows, without a
loss of digits. The natural parameters of a component are [a, l, q, b, c], which is F + 2 numbers, and with the expected
precision given the row, u = c / (c + delta) = (nu + D) / (nu + d^2), the gradient is

.. math:: \frac{\partial f}{\partial (a, l, q, b, c)} = (1, \; u x, \; u \, \mathrm{vech}(x x^\top), \; -u, \;
          1 - u + \log u):

expected statistics of complete rows, by one matrix product there and one back, as for Gaussians. Counts are sums of
responsibilities r; the sums of r u are the weights of the rows in means and scatters. The second derivative of f is
one product, v v' / c with v = (0, u x, u vech(x x'), -u, 1 - u).

References
----------
Liu and Rubin (1995), Statistica Sinica 5, 19-39; mixtures: Peel and McLachlan (2000), doi 10.1023/A:1008981510081.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Float64, Int

from bayes_gmm.core.linalg import LOG_2PI, log_diagonal
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.blocks import blocks
from bayes_gmm.likelihood.complete_rows import CompleteRows
from bayes_gmm.likelihood.contract import log_likelihood_with_scores
from bayes_gmm.likelihood.linear_form import Assignment, Expectation, Natural, soft
from bayes_gmm.likelihood.moments import Moments, moments_of, n_statistics, statistics_of
from bayes_gmm.mixture.degrees_of_freedom import binet, halves
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

N_MORE = 2
"""Statistics of a row beside those of a Gaussian's: the expected precision, and what its logarithm adds."""


class _Given(NamedTuple):
    """Log joint densities of a block, those of noise last, and its rows' expected precisions with their logarithms."""

    log_joint: Float[Array, "_ B"]
    precisions: Float[Array, "K B"]
    log_precisions: Float[Array, "K B"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class HeavyTailedRows(CompleteRows):
    """Complete rows under components that are t distributions.

    Attributes
    ----------
    labels : (M, B)
        Known component of each row, -1 where it is not known; None where none is.
    has_noise : (0 or 1,)
        As long as there are rows of natural parameters of noise.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    labels: Annotated[Any, "M B; None where none is known"] = None
    has_noise: Annotated[Any, "zero or one"]

    @property
    def n_statistics(self) -> int:
        """F and two more: the expected precision, and what its logarithm adds."""
        return n_statistics(self.n_features) + N_MORE

    def natural(self, mixture: Mixture) -> Float[Array, "K F"]:
        """Natural parameters [a, l, q, b, c] of the components, and of noise a constant alone."""
        return natural(mixture)

    def moments(self, statistics: Any) -> Moments:
        """Counts, means weighted by expected precisions, and scatters: products so weighted, divided by the count."""
        counts, weights = statistics[:, 0], self.mean_weights(statistics)
        as_gaussian = statistics[:, :-N_MORE].at[:, 0].set(weights)
        _, means, covariances = moments_of(as_gaussian, self.n_features)
        return Moments(counts, means, (weights / counts)[:, None, None] * covariances)

    def mean_weights(self, statistics: Any) -> Any:
        """Sums of the expected precisions of the rows of each component."""
        return -statistics[:, -2]

    def statistics(self, moments: Moments) -> Float[np.ndarray, "*batch K F"]:
        """Statistics of Gaussian rows that have these moments, each with a precision of one."""
        as_gaussian = statistics_of(moments)
        counts = as_gaussian[..., :1]
        return np.concatenate([as_gaussian, -counts, np.zeros_like(counts)], -1)

    def expected_statistics(self, eta: Natural, assignment: Assignment = soft) -> Expectation:
        """E-step, in one pass."""
        eta = lax.optimization_barrier(eta)

        def of_block(points: Array, weights: Array, labels: Array | None) -> tuple[Array, Array]:
            phi = linear_form.features(points)
            given = self._given(eta, phi, labels)
            value, shares = assignment(lax.optimization_barrier(given.log_joint), weights)
            of_components, precisions = shares[: len(given.precisions)], given.precisions
            weighted = of_components * precisions
            logs = (of_components * (1 - precisions + given.log_precisions)).sum(1)
            statistics = [of_components.sum(1), *((weighted @ phi[1:].T).T), -weighted.sum(1), logs]
            return value, self._with_noise(jnp.stack(statistics, 1), shares)

        value, statistics = self._sum(of_block)
        return Expectation(value, statistics)

    def log_likelihood(self, eta: Natural) -> Float64[Array, ""]:
        """Marginal log-likelihood, whose gradient costs no second pass."""
        return log_likelihood_with_scores(eta, self)

    def curvature(self, eta: Natural) -> Float64[Array, "K F K F"]:
        """Hessian: spread of the scores over the labels, and what the precisions leave open."""
        shapes = eta[: self._n_components(eta), -1]

        def of_block(points: Array, weights: Array, labels: Array | None) -> Array:
            phi = linear_form.features(points)
            given = self._given(eta, phi, labels)
            shares = jax.nn.softmax(given.log_joint, axis=0)
            gradients = self._gradients(given, phi)
            scores = shares[:, None] * gradients
            own = (scores * weights[None, None]) @ gradients.mT
            # The gradient but for its first entry, which becomes zero, and its last, without the logarithm.
            left_open = gradients[: len(shapes)].at[:, 0].set(0.0).at[:, -1].set(1 - given.precisions)
            shared = shares[: len(shapes), None] * weights[None, None] / shapes[:, None, None]
            own = own.at[: len(shapes)].add((shared * left_open) @ left_open.mT)
            flat = scores.reshape(eta.size, -1)
            within = jnp.eye(len(eta))[:, None, :, None] * own[:, :, None, :]
            return within.reshape(eta.size, eta.size) - (flat * weights[None]) @ flat.T

        return self._sum(of_block).reshape(*eta.shape, *eta.shape)

    def score_products(self, eta: Natural) -> Float64[Array, "KF KF"]:
        """Sum of the weighted products of the scores of the rows."""

        def of_block(points: Array, weights: Array, labels: Array | None) -> Array:
            phi = linear_form.features(points)
            given = self._given(eta, phi, labels)
            scores = jax.nn.softmax(given.log_joint, axis=0)[:, None] * self._gradients(given, phi)
            flat = scores.reshape(eta.size, -1)
            return (flat * weights[None]) @ flat.T

        return self._sum(of_block)

    def _given(self, eta: Any, phi: Float[Array, "G B"], labels: Array | None) -> _Given:
        given = log_joint(eta, phi, n_noise=len(self.has_noise))
        if labels is None:
            return given
        allowed = (labels < 0)[None] | (labels[None] == jnp.arange(len(eta))[:, None])
        return given._replace(log_joint=jnp.where(allowed, given.log_joint, -jnp.inf))

    def _gradients(self, given: _Given, phi: Float[Array, "G B"]) -> Float[Array, "_ F B"]:
        """Gradient of each row's log joint density in its component's natural parameters; of noise in a constant."""
        precisions, logs = given.precisions[:, None], given.log_precisions[:, None]
        ones = jnp.ones_like(precisions)
        of_components = jnp.concatenate([ones, precisions * phi[None, 1:], -precisions, 1 - precisions + logs], axis=1)
        of_noise = jnp.zeros_like(of_components[: len(self.has_noise)]).at[:, 0].set(1.0)
        return jnp.concatenate([of_components, of_noise])

    def _with_noise(self, statistics: Float[Array, "K F"], shares: Float[Array, "_ B"]) -> Float[Array, "_ F"]:
        of_noise = jnp.zeros((len(self.has_noise), statistics.shape[1]), statistics.dtype)
        counts = shares[len(statistics) :].sum(1)
        return jnp.concatenate([statistics, of_noise.at[:, 0].set(counts)])

    def _n_components(self, eta: Any) -> int:
        return len(eta) - len(self.has_noise)

    def _sum[T](self, of_block: Callable[..., T]) -> T:
        leaves = [None if leaf is None else jnp.asarray(leaf) for leaf in (self.points, self.weights, self.labels)]

        def at(number: Any) -> T:
            return of_block(*(None if leaf is None else leaf[number] for leaf in leaves))

        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(at, jnp.array(0)))
        return lax.fori_loop(
            self.first, self.stop, lambda number, total: jax.tree.map(jnp.add, total, at(number)), zero
        )


def log_joint(eta: Float[Array, "_ F"], phi: Float[Array, "G N"], n_noise: int = 0) -> _Given:
    """Log joint densities of points with features phi, those of noise last, and expected precisions."""
    of_components = eta[: len(eta) - n_noise]
    shapes = of_components[:, -1:]
    excess = (of_components[:, -2:-1] - of_components[:, 1:-N_MORE] @ phi[1:]) / shapes
    log_precisions = -jnp.log1p(excess)
    joint = of_components[:, :1] + shapes * log_precisions
    of_noise = jnp.broadcast_to(eta[len(of_components) :, :1], (n_noise, phi.shape[1]))
    return _Given(jnp.concatenate([joint, of_noise]), 1 / (1 + excess), log_precisions)


def natural(mixture: Mixture) -> Float[Array, "_ F"]:
    """Natural parameters (K, F + 2) of a mixture of t distributions; noise is one more row, with a constant alone."""
    gaussian = linear_form.natural(replace(mixture, noise=None, degrees_of_freedom=None))
    D, degrees = mixture.n_features, jnp.asarray(mixture.degrees_of_freedom)
    half, shape, log_ratio = halves(degrees, D)
    tail = binet(shape) - binet(half) - 0.5 * log_ratio - 0.5 * D
    constant = mixture.log_weights - log_diagonal(mixture.scale_tril) - 0.5 * D * LOG_2PI + tail
    rate = -0.5 * D + 0.5 * (gaussian[:, 1 : 1 + D] * mixture.means).sum(-1)
    eta = jnp.concatenate([constant[:, None], gaussian[:, 1:], rate[:, None], shape[:, None]], 1)
    if mixture.noise is None:
        return eta
    return jnp.concatenate([eta, jnp.zeros_like(eta[:1]).at[0, 0].set(mixture.noise.log_joint)])


def prepare(
    x: Float[np.ndarray, "N D"],
    sample_weight: Float[np.ndarray, " N"],
    scaling: Scaling,
    labels: Int[np.ndarray, " N"] | None = None,
    *,
    with_noise: bool = False,
    n_rows: int = 0,
) -> HeavyTailedRows:
    """Complete rows (N, D) in unit coordinates, with known components, -1 where not; `n_rows` as in `blocks`."""
    cut = blocks(x, sample_weight, scaling, n_rows)
    rows = HeavyTailedRows(**vars(cut), has_noise=np.zeros(int(with_noise)))
    if labels is None or not (labels >= 0).any():
        return rows
    return replace(rows, labels=rows.in_blocks(labels[None] + 1.0)[0].astype(int) - 1)
