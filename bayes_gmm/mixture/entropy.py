"""Entropy of a mixture and divergence between two, in nats: bounds in closed form, and estimates with their errors."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import entr, logsumexp
from jaxtyping import Array, Float

from bayes_gmm.core.linalg import LOG_2PI, log_diagonal, lower_factor
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import instance_of
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.densities import log_prob, responsibilities
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.monte_carlo import Estimate, flatten, shaped, stratified


class EntropyBounds(NamedTuple):
    """Numbers (...) between which the entropies of mixtures lie, in nats."""

    lower: Float[Any, "*batch"]
    upper: Float[Any, "*batch"]


def entropy_bounds(mixture: Mixture) -> EntropyBounds:
    r"""Bounds on the entropy of a mixture, in closed form; without error and at once, unlike `entropy`.

    .. math:: \sum_k \pi_k H_k - \sum_k \pi_k \log \sum_j \pi_j e^{-d(k, j)}

    is a lower bound when d is the Bhattacharyya distance between two components and an upper bound when it is the
    Kullback-Leibler divergence; both become exact as the components move apart. They are replaced where others are
    tighter: from below Jensen's \(-\sum_k \pi_k \log \sum_j \pi_j \int N_k N_j\), from above the entropy of the
    Gaussian with the covariance of the mixture.

    Parameters
    ----------
    mixture
        One mixture, or a batch (...).

    Returns
    -------
    EntropyBounds
        lower (...) and upper (...), in nats.

    References
    ----------
    Kolchinsky and Tracey (2017), doi 10.3390/e19070361; Jensen's bound: Huber et al. (2008),
    doi 10.1109/MFI.2008.4648062.

    Examples
    --------
    >>> mixture = Mixture.from_moments([0.5, 0.5], [[-2.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> lower, upper = entropy_bounds(mixture)
    >>> print(f"{lower:.3f} to {upper:.3f}")
    1.985 to 2.112
    """
    _check_mixture("mixture", mixture)
    batch = mixture.log_weights.shape[:-1]
    return EntropyBounds(*(shaped(bound, batch) for bound in _map_bounds(flatten(mixture, batch))))


def entropy(mixture: Mixture, *, n_points: int = 10_000, seed: int = 0) -> Estimate:
    r"""Entropy of a mixture, in nats, by Monte Carlo.

    .. math:: H(x) = -\int p(x) \log p(x) \, dx = \sum_k \pi_k H(N_k) + H(z) - E[H(z \mid x)]

    Only the last term, the mean uncertainty of a point's label z, is estimated: it is between 0 and log K, and nearly
    the same for all points when the components are far apart or on top of each other.

    Parameters
    ----------
    mixture
        One mixture, or a batch (...), each with its own points.
    n_points
        Number of points drawn, at least two for each component.
    seed
        Seed of the points.

    Returns
    -------
    Estimate
        value (...) and standard_error (...), in nats.

    Raises
    ------
    ArgumentError
        When n_points or the seed cannot be used.

    References
    ----------
    Cover and Thomas (2006), Elements of Information Theory, doi 10.1002/047174882X, section 8.5; the sampling is
    stratified (`stratified`).

    Examples
    --------
    >>> mixture = Mixture.from_moments([0.5, 0.5], [[-2.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> estimate = entropy(mixture)
    >>> print(f"{estimate.value:.2f}")
    2.05
    """
    _check_mixture("mixture", mixture)
    return stratified(_entropy_integrand, (mixture,), mixture.log_weights.shape[:-1], n_points, seed)


def kl_divergence(p: Mixture, q: Mixture, *, n_points: int = 10_000, seed: int = 0) -> Estimate:
    r"""Kullback-Leibler divergence of q from p, in nats, by Monte Carlo.

    .. math:: \mathrm{KL}(p \,\|\, q) = \int p(x) \log \frac{p(x)}{q(x)} \, dx

    The points are drawn from p, and both densities stay logarithms, so that q may be as small as it likes. An
    estimate may fall below zero by a few of its standard errors; that of p from itself is exactly zero.

    Parameters
    ----------
    p, q
        Mixtures of the same features, with any numbers of components; their batches are broadcast.
    n_points
        Number of points drawn, at least two for each component of p.
    seed
        Seed of the points.

    Returns
    -------
    Estimate
        value (...) and standard_error (...), in nats.

    Raises
    ------
    ArgumentError
        When the features or batches of p and q do not match, or n_points or the seed cannot be used.

    References
    ----------
    Hershey and Olsen (2007), doi 10.1109/ICASSP.2007.366913, section 2; the sampling is stratified (`stratified`).

    Examples
    --------
    >>> p = Mixture.from_moments([1.0], [[0.0]], [[[1.0]]])
    >>> q = Mixture.from_moments([1.0], [[1.0]], [[[1.0]]])
    >>> estimate = kl_divergence(p, q)
    >>> bool(abs(estimate.value - 0.5) < 4 * estimate.standard_error)
    True
    """
    _check_mixture("p", p)
    _check_mixture("q", q)
    if p.n_features != q.n_features:
        raise ArgumentError(
            f"p has {p.n_features} features and q has {q.n_features}.",
            "two mixtures of the same features",
            "Mixture.marginal leaves features out.",
        )
    return stratified(_log_ratio_integrand, (p, q), _common_batch(p, q), n_points, seed)


def _check_mixture(name: str, mixture: Any) -> None:
    instance_of(name, mixture, Mixture, "Of a fit give its .mixture, of a posterior its .draws.")
    if mixture.noise is not None:
        raise ArgumentError(
            f"{name} has noise, whose density counts outside of its box too, so that it has no entropy.",
            "a mixture of Gaussians alone",
            "Fit without noise.",
        )
    if mixture.degrees_of_freedom is not None:
        raise ArgumentError(
            f"{name} has components that are t distributions, for which this is not made.",
            "a mixture of Gaussians",
            "Average its log_prob over its sample.",
        )


def _common_batch(p: Mixture, q: Mixture) -> tuple[int, ...]:
    batches = p.log_weights.shape[:-1], q.log_weights.shape[:-1]
    try:
        return np.broadcast_shapes(*batches)
    except ValueError:
        raise ArgumentError(
            f"The batches of p and q have shapes {batches[0]} and {batches[1]}.",
            "equal shapes, or shapes that NumPy broadcasts",
            "A single mixture goes with every batch.",
        ) from None


# Bounds


@in_float64
@jax.jit
def _map_bounds(mixtures: Mixture) -> tuple[Array, Array]:
    return jax.lax.map(_bounds, mixtures)


def _bounds(mixture: Mixture) -> tuple[Array, Array]:
    """Lower and upper bound on the entropy of one mixture."""
    entropies = _gaussian_entropies(mixture.scale_tril)
    within = mixture.weights @ entropies
    log_overlaps, log_products = _pairs(_log_affinities, mixture)
    divergences = _pairs(_gaussian_divergence, mixture)
    lower = jnp.maximum(within + _between(mixture, log_overlaps), _between(mixture, log_products))
    upper = jnp.minimum(within + _between(mixture, -divergences), _entropy_by_covariance(mixture))
    return lower, upper


def _between(mixture: Mixture, log_kernel: Float[Array, "K K"]) -> Float[Array, ""]:
    """Entropy of the labels, as far as a kernel tells them apart."""
    return -mixture.weights @ logsumexp(mixture.log_weights[None] + log_kernel, axis=1)


def _pairs(function: Callable[..., Any], mixture: Mixture) -> Any:
    """Evaluate a function of two Gaussians for all pairs of components, (K, K)."""
    gaussians = mixture.means, mixture.scale_tril
    over_second = jax.vmap(function, (None, None, 0, 0))
    return jax.vmap(over_second, (0, 0, None, None))(*gaussians, *gaussians)


def _gaussian_entropies(factor: Float[Array | np.ndarray, "*batch D D"]) -> Float[Array, "*batch"]:
    return 0.5 * factor.shape[-1] * (1 + LOG_2PI) + log_diagonal(factor)


def _entropy_by_covariance(mixture: Mixture) -> Float[Array, ""]:
    """Entropy of the Gaussian that has the covariance of the mixture: no density of that covariance has more."""
    offsets = mixture.means - mixture.mean[None]
    roots = jnp.concatenate([mixture.scale_tril, offsets[..., None]], -1) * jnp.sqrt(mixture.weights)[:, None, None]
    return _gaussian_entropies(lower_factor(jnp.concatenate(roots, -1)))


def _gaussian_divergence(mean: Array, factor: Array, other_mean: Array, other_factor: Array) -> Float[Array, ""]:
    """Kullback-Leibler divergence of the other Gaussian from the first."""
    columns = jnp.concatenate([factor, (mean - other_mean)[:, None]], 1)
    whitened = solve_triangular(other_factor, columns, lower=True)
    return 0.5 * ((whitened**2).sum() - len(mean)) + log_diagonal(other_factor) - log_diagonal(factor)


def _log_affinities(mean: Array, factor: Array, other_mean: Array, other_factor: Array) -> tuple[Array, Array]:
    """Logarithms of the integrals of sqrt(N N') and of N N'."""
    midway = lower_factor(jnp.concatenate([factor, other_factor], 1) / np.sqrt(2))
    distance = (solve_triangular(midway, mean - other_mean, lower=True) ** 2).sum()
    log_volume = log_diagonal(midway)
    overlap = (log_diagonal(factor) + log_diagonal(other_factor)) / 2 - log_volume - distance / 8
    return overlap, -0.5 * len(mean) * (LOG_2PI + np.log(2)) - log_volume - distance / 4


# Integrands


def _entropy_integrand(mixture: Mixture) -> Callable[[Array], Array]:
    known = mixture.weights @ _gaussian_entropies(mixture.scale_tril) + entr(mixture.weights).sum()
    return lambda point: known - entr(responsibilities(mixture, point)).sum()


def _log_ratio_integrand(p: Mixture, q: Mixture) -> Callable[[Array], Array]:
    return lambda point: log_prob(p, point) - log_prob(q, point)
