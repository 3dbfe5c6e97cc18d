"""The prior: NumPyro distributions in data units, with defaults that take their scale from the data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from bayes_gmm.bayes.sites import Layout, Sites, as_arrays, assemble, build_sites, family, free, innermost
from bayes_gmm.core.precision import in_float64
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.mixture import Mixture


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prior:
    r"""Prior of a Gaussian mixture, in data units.

    .. math:: \pi \sim \mathrm{Dirichlet}(1, \dots, 1), \quad \mu_{kd} \sim N(m_d, (2 s_d)^2), \quad
              \sigma_{kd}^2 \sim \mathrm{InverseGamma}(2, \tfrac12 s_d^2 K^{-2/D}), \quad R_k \sim \mathrm{LKJ}(2)

    are the defaults, with the data's means m and standard deviations s. Inverse-gamma variances rule out the
    spike that a prior with mass at zero grows on tied data. A distribution replaces a default; a number or an array
    holds the parameter at that value. Scales that the structure shares have one prior: tied ones have shape (1, D),
    spherical ones (K, 1), with the mean variance in place of each column's.

    Attributes
    ----------
    weights
        Distribution over the simplex, or for K = 2 a `Beta` of the first weight, or K weights.
    means
        Distribution of each coordinate (shapes broadcast to (K, D)) or of each mean vector, or values.
    scales, variances
        Distribution of the component standard deviations, or of their squares; at most one of the two.
    correlations
        Distribution over Cholesky factors of correlation matrices (`LKJCholesky`), or one number for all
        correlations, or correlation matrices.

    References
    ----------
    Richardson and Green (1997), doi 10.1111/1467-9868.00095; Lewandowski, Kurowicka and Joe (2009),
    doi 10.1016/j.jmva.2009.04.008; the shrinkage by K: Fraley and Raftery (2007), doi 10.1007/s00357-007-0004-5.

    Examples
    --------
    >>> import numpyro.distributions as dist
    >>> Prior(weights=dist.Beta(5.0, 5.0), means=dist.Normal(0.0, 2.0), scales=dist.LogNormal(-1.0, 1.0))
    Prior
      weights       Beta(concentration1=5, concentration0=5)
      means         Normal(loc=0, scale=2)
      scales        LogNormal(loc=-1, scale=1)
      correlations  the default
    """

    weights: Any = None
    means: Any = None
    scales: Any = None
    variances: Any = None
    correlations: Any = None

    def __post_init__(self) -> None:
        if self.scales is not None and self.variances is not None:
            raise ArgumentError(
                "The prior sets both scales and variances.",
                "one of the two: a variance is a squared scale",
                "Leave one of them out.",
            )

    def with_concentration(self, concentration: Any, n_components: int) -> "Prior":
        """Prior with a Dirichlet distribution of the weights: a positive concentration, or one for each component.

        Raises
        ------
        ArgumentError
            When it is neither.
        """
        try:
            numbers = np.broadcast_to(np.asarray(concentration, float), (n_components,))
        except (TypeError, ValueError):
            numbers = np.array(np.nan)
        if not (np.isfinite(numbers).all() and (numbers > 0).all()):
            raise ArgumentError(
                f"The concentration of the weights is {concentration!r}.",
                f"a positive number, or {n_components} of them",
                "With 1 all weights are equally likely; small numbers leave components empty.",
            )
        return replace(self, weights=dist.Dirichlet(numbers))

    def for_data(self, x: Any, n_components: int, covariance_type: str = "full") -> "Prior":
        """Prior whose missing parts are filled in from the means and standard deviations of the columns of x (N, D)."""
        D = x.shape[1]
        layout = Layout.of(n_components, D, covariance_type)
        if self.correlations is not None and D > 1 and not layout.correlated:
            raise ArgumentError(
                f"The prior sets correlations, which covariance_type {covariance_type!r} does not have.",
                'no prior of correlations, or covariance_type "full" or "tied"',
                "Leave the correlations out.",
            )
        center, variances = x.mean(0), x.var(0)
        own = np.ones((n_components, D))
        defaults: Sites = {
            "weights": dist.Dirichlet(np.ones(n_components)),
            "means": dist.Normal(center * own, 2 * variances**0.5 * own),
            "correlations": dist.LKJCholesky(D, 2.0) if layout.correlated else 0.0,
        }
        if self.scales is None:
            shrinkage = 0.5 * n_components ** (-2 / D)
            ones = np.ones(layout.n_scales)
            typical = variances if layout.n_scales[1] == D else variances.mean()
            defaults["variances"] = dist.InverseGamma(2 * ones, shrinkage * typical * ones)
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return replace(self, **missing)

    def sites(self, n_components: int, n_features: int, covariance_type: str = "full") -> Sites:
        """One distribution with full shape, or one fixed array, for each parameter of the model.

        Raises
        ------
        ArgumentError
            When a part is missing, has a shape or values that the parameter cannot have, or there is no prior for the
            structure.
        """
        self._require_complete()
        name = "scales" if self.scales is not None else "variances"
        layout = Layout.of(n_components, n_features, covariance_type)
        return build_sites(layout, self.weights, self.means, {name: getattr(self, name)}, self.correlations)

    @property
    def n_features(self) -> int:
        """Number of features that the prior of the means is for, when it says so."""
        self._require_complete()
        means = self.means
        shape = means.shape() if isinstance(means, dist.Distribution) else np.shape(means)
        if not shape:
            raise ArgumentError(
                "The prior of the means is the same for every feature, and there are no data.",
                "a prior of the means with one entry for each feature",
                "Call prior.for_data(x, n_components), or give the means' prior the shape (K, D).",
            )
        return int(shape[-1])

    def sample(
        self, num_draws: int, n_components: int, n_features: int, *, covariance_type: str = "full", seed: int
    ) -> Mixture:
        """Draw mixtures (num_draws,) from a complete prior, in data units."""
        return _sample_prior(self.sites(n_components, n_features, covariance_type), num_draws, seed)

    def describe(self, columns: Sequence[str] | None = None) -> str:
        """One line for each parameter, hyperparameters in data units, by column where they differ."""
        return "\n".join(["Prior", *(f"  {name:13} {text}" for name, text in self.in_words(columns).items())])

    def in_words(self, columns: Sequence[str] | None = None) -> dict[str, str]:
        """Words on the prior of each parameter, by its name."""
        parts = {name: getattr(self, name) for name in ("weights", "means", "scales", "variances", "correlations")}
        unused = {"variances"} if self.variances is None else {"scales"}
        return {name: _words(value, columns) for name, value in parts.items() if name not in unused}

    def __repr__(self) -> str:
        return self.describe()

    def _require_complete(self) -> None:
        spread = self.scales if self.scales is not None else self.variances
        if any(part is None for part in (self.weights, self.means, spread, self.correlations)):
            raise ArgumentError(
                "A part of this prior takes its scale from data, and there are none.",
                "a prior whose every part is given",
                "Call prior.for_data(x, n_components) first, or give weights, means, scales and correlations.",
            )


@in_float64
def _sample_prior(sites: Sites, num_draws: int, seed: int) -> Mixture:
    drawn = jax.device_get(_draw(as_arrays(free(sites)), jax.random.key(seed), num_draws))
    held = {name: np.broadcast_to(site, (num_draws, *site.shape)) for name, site in sites.items() if name not in drawn}
    return assemble(drawn | held)


@partial(jax.jit, static_argnums=2)
def _draw(sites: Sites, key: Any, num_draws: int) -> dict[str, Any]:
    keys = jax.random.split(key, len(sites))
    return {name: site.sample(key, (num_draws,)) for key, (name, site) in zip(keys, sites.items(), strict=True)}


def _words(value: Any, columns: Sequence[str] | None) -> str:
    """A distribution with its hyperparameters, or the value at which a parameter is held."""
    if value is None:
        return "the default"
    if not isinstance(value, dist.Distribution):
        return f"held at {_numbers(np.asarray(value))}"
    base = innermost(value)
    arguments = {name: np.asarray(getattr(base, name)) for name in base.arg_constraints}
    return f"{family(value)}({', '.join(_argument(name, array, columns) for name, array in arguments.items())})"


def _argument(name: str, values: np.ndarray, columns: Sequence[str] | None) -> str:
    """Hyperparameter once where it is the same everywhere, once for each feature where components agree."""
    if values.ndim == 0 or (values == values.flat[0]).all():
        return f"{name}={values.flat[0]:.4g}"
    if values.ndim == 2 and (values == values[:1]).all():
        values = values[0]
    return f"{name}={_numbers(values, columns)}"


def _numbers(values: np.ndarray, columns: Sequence[str] | None = None) -> str:
    if values.ndim == 1 and columns is not None and len(columns) == len(values):
        return f"[{', '.join(f'{column} {value:.4g}' for column, value in zip(columns, values, strict=True))}]"
    return np.array2string(values, precision=4, separator=", ", threshold=20).replace("\n", "")
