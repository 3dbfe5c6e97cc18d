"""The mixture of Gaussians or of t distributions: one class for a start, the maximum-likelihood fit and a posterior.

Notation: N points, D features, K components; leading axes (restarts, or chain and draw) are allowed.
"""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.linalg import invert_tril, lower_factor, square
from bayes_gmm.core.validation import feature_indices, positive_integer, real_numbers, seed_integer
from bayes_gmm.mixture import densities, parameter_checks
from bayes_gmm.mixture.conditional import condition
from bayes_gmm.mixture.degrees_of_freedom import checked_degrees, covariance_factor
from bayes_gmm.mixture.noise import Noise, box_from, most_probable


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture:
    r"""Mixture of K Gaussians in D dimensions, or of K multivariate t distributions, possibly a batch of them.

    .. math:: p(x) = \sum_k \pi_k \, N(x \mid \mu_k, L_k L_k^\top) \quad \text{or} \quad
              \sum_k \pi_k \, t_{\nu_k}(x \mid \mu_k, L_k L_k^\top)

    Attributes
    ----------
    log_weights : (..., K)
        Logarithms of the weights; they sum to one on the natural scale.
    means : (..., K, D)
        Component means, in the units of the data.
    scale_tril : (..., K, D, D)
        Lower triangular Cholesky factors of the scatters, which are the covariances of Gaussians.
    degrees_of_freedom : (..., K)
        Those of t distributions, or None for Gaussians.
    noise
        Uniform `Noise` beside the components, or None. Its weight and those of the others then sum to one. It is no
        component: `predict` gives -1 where a point most probably belongs to it, and responsibilities sum to the rest.
    columns
        Names of the features where a fit made the mixture, else None: points with names are then put into this order,
        or refused. JAX does not see them, so that what it makes of a mixture has none.

    Examples
    --------
    >>> mixture = Mixture.from_moments([0.5, 0.5], [[-2.0], [2.0]], [[[1.0]], [[1.0]]])
    >>> mixture.responsibilities([[0.0]])
    array([[0.5, 0.5]])
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    log_weights: Annotated[Any, "*batch K"]
    means: Annotated[Any, "*batch K D"]
    scale_tril: Annotated[Any, "*batch K D D"]
    noise: Noise | None = None
    degrees_of_freedom: Annotated[Any, "*batch K; None for Gaussians"] = None
    columns: ClassVar[tuple[str, ...] | None] = None

    @classmethod
    def from_moments(cls, weights: Any, means: Any, covariances: Any) -> "Mixture":
        """Build a mixture from weights (..., K), means (..., K, D) and covariances (..., K, D, D).

        Raises
        ------
        ArgumentError
            When the shapes disagree, the weights are negative or do not sum to one, anything is not
            finite, or a covariance is not symmetric positive definite.
        """
        given = {"weights": weights, "means": means, "covariances": covariances}
        weights, means, covariances = (
            real_numbers(name, part, parameter_checks.SHAPES) for name, part in given.items()
        )
        parameter_checks.check_shapes(weights, means, covariances)
        parameter_checks.check_finite(weights, means, covariances)
        parameter_checks.check_weights(weights)
        with np.errstate(divide="ignore"):
            log_weights = np.log(weights)
        return cls(log_weights=log_weights, means=means, scale_tril=parameter_checks.cholesky(covariances))

    @classmethod
    def from_scatters(cls, weights: Any, means: Any, scatters: Any, degrees_of_freedom: Any) -> "Mixture":
        """Build a mixture of t distributions from scatters (..., K, D, D) and degrees of freedom, one or (..., K).

        Raises
        ------
        ArgumentError
            As in `from_moments`, and when degrees of freedom are not positive.

        Examples
        --------
        >>> mixture = Mixture.from_scatters([1.0], [[0.0]], [[[2.0]]], degrees_of_freedom=4.0)
        >>> mixture.scatters.ravel(), mixture.covariances.ravel()
        (array([2.]), array([4.]))
        """
        mixture = cls.from_moments(weights, means, scatters)
        return replace(mixture, degrees_of_freedom=checked_degrees(degrees_of_freedom, mixture.log_weights.shape))

    def with_noise(self, weight: Any, low: Any, high: Any) -> "Mixture":
        """The same mixture with a share of noise, spread evenly over the box from `low` to `high`, (D,) each.

        Raises
        ------
        ArgumentError
            When the weight is not from 0 to below 1, or the box is not finite with `low` below `high`.

        Examples
        --------
        >>> mixture = Mixture.from_moments([1.0], [[0.0]], [[[1.0]]]).with_noise(0.2, [-10.0], [10.0])
        >>> mixture.predict([[0.0], [9.0]])
        array([ 0, -1])
        """
        noise = box_from(low, high, weight, self.n_features).repeated(self.log_weights.shape[:-1])
        log_weights = self.without_noise().log_weights + np.log1p(-np.exp(noise.log_weight))[..., None]
        return replace(self, log_weights=log_weights, noise=noise).with_columns(self.columns)

    def with_columns(self, columns: Iterable[str] | None) -> "Mixture":
        """The same mixture with names of its features.

        Examples
        --------
        >>> mixture = Mixture.from_moments([1.0], [[0.0, 9.0]], [np.eye(2)]).with_columns(["a", "b"])
        >>> records = np.array([(9.0, 0.0)], dtype=[("b", float), ("a", float)])
        >>> mixture.log_prob(records) == mixture.log_prob([[0.0, 9.0]])
        array([ True])
        """
        named = copy(self)
        object.__setattr__(named, "columns", None if columns is None else tuple(columns))
        return named

    @property
    def n_components(self) -> int:
        """K, the number of components."""
        return int(self.means.shape[-2])

    @property
    def n_features(self) -> int:
        """D, the number of columns of the data."""
        return int(self.means.shape[-1])

    @property
    def n_parameters(self) -> int:
        """Free parameters: (K - 1) + K D + K D (D + 1) / 2, one for noise, and different degrees of freedom."""
        K, D = self.n_components, self.n_features
        n_degrees = 0 if self.degrees_of_freedom is None else len(np.unique(self.degrees_of_freedom))
        return (K - 1) + (self.noise is not None) + K * D + K * D * (D + 1) // 2 + min(n_degrees, K)

    @property
    def weights(self) -> Float[Any, "*batch K"]:
        """Weights (..., K)."""
        return _namespace(self).exp(self.log_weights)

    @property
    def noise_weight(self) -> Float[Any, "*batch"]:
        """Weight of the noise (...), zero without any."""
        if self.noise is None:
            return np.zeros(np.shape(self.log_weights)[:-1])
        return _namespace(self).exp(self.noise.log_weight)

    @property
    def scatters(self) -> Float[Any, "*batch K D D"]:
        r"""Scatters \(L_k L_k^\top\) (..., K, D, D), in squared units of the data: of Gaussians the covariances."""
        return square(self.scale_tril)

    @property
    def whitening(self) -> Float[Any, "*batch K D D"]:
        """Inverses (..., K, D, D) of the Cholesky factors."""
        return self._inverse_factors if isinstance(self.scale_tril, np.ndarray) else invert_tril(self.scale_tril)

    @cached_property
    def _inverse_factors(self) -> Float[np.ndarray, "*batch K D D"]:
        return invert_tril(self.scale_tril)

    @property
    def covariances(self) -> Float[Any, "*batch K D D"]:
        r"""Covariances (..., K, D, D), in squared units of the data.

        Those of t distributions are \(\nu_k / (\nu_k - 2)\) times the scatters; NaN where \(\nu_k\) is 2 or less, so
        that there are none.
        """
        if self.degrees_of_freedom is None:
            return self.scatters
        return covariance_factor(self.degrees_of_freedom)[..., None, None] * self.scatters

    @property
    def scales(self) -> Float[Any, "*batch K D"]:
        """Roots of the scatters' diagonals (..., K, D), in the units of the data: of Gaussians standard deviations."""
        return _namespace(self).sqrt((self.scale_tril**2).sum(-1))

    @property
    def standard_deviations(self) -> Float[Any, "*batch K D"]:
        """Standard deviations (..., K, D), in the units of the data; NaN where a t distribution has none."""
        if self.degrees_of_freedom is None:
            return self.scales
        return _namespace(self).sqrt(covariance_factor(self.degrees_of_freedom))[..., None] * self.scales

    @property
    def correlations(self) -> Float[Any, "*batch K D D"]:
        """Correlation matrices (..., K, D, D)."""
        factor = self.scale_tril / self.scales[..., None]
        return factor @ factor.mT

    @property
    def mean(self) -> Float[Any, "*batch D"]:
        r"""Mean of the whole mixture, \(\sum_k \pi_k \mu_k\), noise included, (..., D)."""
        mean = (self.weights[..., None] * self.means).sum(-2)
        return mean if self.noise is None else mean + self.noise_weight[..., None] * self.noise.mean

    @property
    def covariance(self) -> Float[Any, "*batch D D"]:
        """Covariance of the whole mixture: mean of the covariances plus covariance of the means, (..., D, D)."""
        offsets = self.means - self.mean[..., None, :]
        within_and_between = self.covariances + offsets[..., :, None] * offsets[..., None, :]
        covariance = (self.weights[..., None, None] * within_and_between).sum(-3)
        if self.noise is None:
            return covariance
        offset = self.noise.mean - self.mean
        of_noise = self.noise.covariance + offset[..., :, None] * offset[..., None, :]
        return covariance + self.noise_weight[..., None, None] * of_noise

    def log_joint(self, x: Any) -> Float[np.ndarray, "*batch N K"]:
        r"""Log joint density of point and label, \(\log \pi_k + \log N(x_n | \mu_k, \Sigma_k)\), (..., N, K).

        Of a point with cells that are NaN, which were not seen, it is that of the others; so it is in all that follows.
        """
        return densities.at_points(densities.log_joint, self, x)

    def log_prob(self, x: Any) -> Float[np.ndarray, "*batch N"]:
        r"""Log density of each point with its label summed out, \(\log p(x_n)\), (..., N)."""
        return densities.at_points(densities.log_prob, self, x)

    def responsibilities(self, x: Any) -> Float[np.ndarray, "*batch N K"]:
        r"""Soft assignments \(p(z_n = k | x_n)\), (..., N, K); each row sums to one, less the share of noise."""
        return densities.at_points(densities.responsibilities, self, x)

    def noise_probability(self, x: Any) -> Float[np.ndarray, "*batch N"]:
        """Probability that each point belongs to the noise, (..., N); zero without noise."""
        return densities.at_points(densities.noise_probability, self, x)

    def predict(self, x: Any) -> Int[np.ndarray, "*batch N"]:
        """Most probable component of each point, (..., N); -1 for noise."""
        if self.noise is None:
            return self.log_joint(x).argmax(-1)
        return most_probable(self.responsibilities(x))

    def sample(self, n_points: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw points (..., n_points, D) and their components (..., n_points), -1 for noise."""
        positive_integer("n_points", n_points)
        rng = np.random.default_rng(seed_integer(seed))
        batch = self.log_weights.shape[:-1]
        cumulative = np.cumsum(self.weights, -1)
        total = cumulative[..., None, -1:] + self.noise_weight[..., None, None]
        labels = (rng.random((*batch, n_points, 1)) * total > cumulative[..., None, :]).sum(-1)
        is_noise = labels == self.n_components
        labels = np.where(is_noise, -1, labels)
        points = np.take_along_axis(np.asarray(self.means), labels[..., None], -2)
        standard = rng.standard_normal(points.shape)
        if self.degrees_of_freedom is not None:
            degrees = np.take_along_axis(np.asarray(self.degrees_of_freedom), labels, -1)
            standard /= _root_precisions(rng, degrees)[..., None]
        for j in range(self.n_features):  # column by column: many small matrix products take three times as long
            column = np.take_along_axis(np.asarray(self.scale_tril[..., j]), labels[..., None], -2)
            points += column * standard[..., j, None]
        if self.noise is not None:
            points = np.where(is_noise[..., None], self.noise.sample(rng.random(points.shape)), points)
        return points, labels

    def marginal(self, features: Iterable[int] | np.ndarray) -> "Mixture":
        """Mixture of the chosen features alone: their means and blocks of the covariances.

        Raises
        ------
        ArgumentError
            When the features are not one or more different integers from 0 to D - 1, or there is noise in a box along
            principal axes, of which the density of some features is not constant.
        """
        chosen = feature_indices(features, self.n_features)
        scale_tril = lower_factor(self.scale_tril[..., chosen, :])
        noise = None if self.noise is None else self.noise.marginal(chosen)
        marginal = replace(self, means=self.means[..., chosen], scale_tril=scale_tril, noise=noise)
        return marginal.with_columns(self._names_of(chosen))

    def condition(self, features: Iterable[int] | np.ndarray, values: Any) -> "Mixture":
        r"""Mixture of the remaining features, given that `features` take `values`: a regression.

        .. math:: p(x_m \mid x_o) = \sum_k \frac{\pi_k N(x_o \mid \mu_{k,o}, \Sigma_{k,oo})}{p(x_o)}
                  \, N(x_m \mid \mu_{k,m} + \Sigma_{k,mo} \Sigma_{k,oo}^{-1} (x_o - \mu_{k,o}), \,
                  \Sigma_{k,mm} - \Sigma_{k,mo} \Sigma_{k,oo}^{-1} \Sigma_{k,om})

        Parameters
        ----------
        features
            Indices of the known features; the others remain, in their order.
        values : (M, number of features)
            Rows of values of the known features, in the order of `features`.

        Returns
        -------
        Mixture
            One for each row, as a last batch axis (..., M). Its `mean` is the regression of the remaining features on
            the known ones, its `covariance` the uncertainty of a prediction.

        Raises
        ------
        ArgumentError
            When the features are not different integers from 0 to D - 1 that leave at least one other, or the values
            are not finite rows as long as the features, or lie too far away for float64.

        References
        ----------
        Cohn, Ghahramani and Jordan (1996), doi 10.1613/jair.295.

        Examples
        --------
        >>> mixture = Mixture.from_moments([1.0], [[0.0, 1.0]], [[[1.0, 0.5], [0.5, 2.0]]])
        >>> mixture.condition([0], [[1.0], [2.0]]).mean
        array([[1.5],
               [2. ]])
        """
        own = jax.tree.map(np.asarray, self)
        known = feature_indices(features, self.n_features, n_left=1)
        names = self._names_of(known)
        parts = own.log_weights, own.means, own.scale_tril, own.degrees_of_freedom
        mixture = Mixture(**condition(*parts, known, values, names)._asdict())
        rest = [feature for feature in range(self.n_features) if feature not in known]
        if own.noise is not None:
            shares = own.marginal(known).noise_probability(values)
            with np.errstate(divide="ignore"):
                log_weights = mixture.log_weights + np.log1p(-shares)[..., None]
            mixture = replace(mixture, log_weights=log_weights, noise=own.noise.given(shares, rest))
        return mixture.with_columns(self._names_of(rest))

    def permute(self, permutations: Any) -> "Mixture":
        """Reorder the components: component k of the result is component `permutations[..., k]`."""
        order = parameter_checks.orders(permutations, self.log_weights.shape)
        degrees = self.degrees_of_freedom
        permuted = Mixture(
            log_weights=np.take_along_axis(self.log_weights, order, -1),
            means=np.take_along_axis(self.means, order[..., None], -2),
            scale_tril=np.take_along_axis(self.scale_tril, order[..., None, None], -3),
            noise=self.noise,
            degrees_of_freedom=None if degrees is None else np.take_along_axis(degrees, order, -1),
        )
        return permuted.with_columns(self.columns)

    def first(self, n_components: int) -> "Mixture":
        """The first components alone, with the weights that they have, and the noise."""
        parts = (self.log_weights[..., :n_components], self.means[..., :n_components, :])
        factors = self.scale_tril[..., :n_components, :, :]
        degrees = None if self.degrees_of_freedom is None else self.degrees_of_freedom[..., :n_components]
        return replace(self, log_weights=parts[0], means=parts[1], scale_tril=factors, degrees_of_freedom=degrees)

    def without_noise(self) -> "Mixture":
        """The components alone, whose weights then sum to one."""
        if self.noise is None:
            return self
        total = np.logaddexp.reduce(self.log_weights, axis=-1, keepdims=True)
        return replace(self, log_weights=self.log_weights - total, noise=None).with_columns(self.columns)

    def _names_of(self, features: Iterable[int]) -> tuple[str, ...] | None:
        return None if self.columns is None else tuple(self.columns[feature] for feature in features)

    def __repr__(self) -> str:
        batch = tuple(np.shape(self.log_weights)[:-1])
        batched = f", batch {batch}" if batch else ""
        noisy = " and noise" if self.noise is not None else ""
        tailed = " t" if self.degrees_of_freedom is not None else ""
        return f"Mixture({self.n_components}{tailed} components{noisy}, {self.n_features} features{batched})"


def _namespace(mixture: Mixture) -> Any:
    return jnp if isinstance(mixture.log_weights, jax.Array) else np


def _root_precisions(rng: np.random.Generator, degrees: Float[np.ndarray, "*batch N"]) -> Float[np.ndarray, "*batch N"]:
    """Square roots of the precisions, gamma(nu / 2, nu / 2), by which t distributed points are normal."""
    is_gaussian = np.isinf(degrees)
    finite = np.where(is_gaussian, 1.0, degrees)
    return np.where(is_gaussian, 1.0, np.sqrt(rng.chisquare(finite) / finite))
