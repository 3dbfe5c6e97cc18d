r"""The prior: NumPyro distributions in data units, with defaults that take their scale from the data.

The defaults are weak where data speak, and answer three questions that they leave open:

- *How wide may a component be?* Its scales are log-normal, an order of magnitude either way about a tenth of a column's
  sd, with a level that all components share (`exchangeable_log_normal`). The slope of the
  log density stays small however far apart clusters lie, where a prior that follows the variance of all data pulls by
  the square of their distance.
- *What of equal values?* The covariances have a floor at the resolution of the data (`resolution`), so that there is a
  posterior for every table.
- *Where may a component lie?* Anywhere: every point is within one prior sd of the middle of the range, so a few points
  far from the others cost nothing.

No hyperparameter depends on K, so the prior of some components is the same for every K. A shift or a change of unit of
a column changes draws in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from numpyro import distributions as dist

from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.exchangeable_log_normal import ExchangeableLogNormal
from bayes_gmm.bayes.resolution import resolutions
from bayes_gmm.bayes.shifted_gamma import ShiftedGamma
from bayes_gmm.bayes.sites import Layout, Sites, assemble, build_sites, family, free, innermost
from bayes_gmm.core.precision import in_float64
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.distribution_serialisation import lkj_cholesky
from bayes_gmm.mixture.gaps import seen_moments
from bayes_gmm.mixture.mixture import Mixture

_NOISE = (1.0, 9.0)
"""Parameters of the beta distribution that is the default prior of the weight of noise."""

_TAILS = (2.0, 0.1, 1.0)
"""Parameters of the shifted gamma distribution that is the default prior of degrees of freedom."""

FROM_DATA = "data"
"""Resolution that is found from the data."""

_LEAST_SHARE = 0.01
"""Least share of the variance of the data that is taken for that of the true values, whatever the errors."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Prior:
    r"""Prior of a Gaussian mixture, in data units.

    .. math:: \pi \sim \mathrm{Dirichlet}(1, \dots, 1), \quad \mu_{kd} \sim N(c_d, h_d^2), \quad
              \Sigma_k = \Delta + V_k R_k V_k,

    .. math:: \log v_{kd} = \log \tfrac{s_d}{10} + 2 a_d + b_{kd}, \quad a_d, b_{kd} \sim N(0, 1), \quad
              R_k \sim \mathrm{LKJ}(1), \quad \Delta = \mathrm{diag}(r_d^2 / 12)

    are the defaults, with the middle c, half the range h and the standard deviation s of each column, that of the
    true values where values have known errors, and the width r of the steps to which it was recorded, zero where no
    values are tied (`resolution`). a_d is integrated out
    (`ExchangeableLogNormal`). A distribution replaces a default; a number or an array holds the parameter at that
    value. Scales that the structure shares have one prior: tied ones have shape (1, D), spherical ones (K, 1), with the
    root of the columns' mean square in place of s_d and r_d.

    Where components are t distributions, their degrees of freedom are 1 + Gamma(2, 0.1), common to all unless each has
    its own: the prior of Juarez and Steel (2010) above one, where means exist. It falls fast enough that there is a
    posterior, although the likelihood is flat towards the Gaussian. Its mode is 11 and its mean 21; 9 % of it lie below
    6, where tails are heavy, and 20 % above 31, where a component is nearly Gaussian. The scales and correlations are
    then those of the scatters.

    Where there is noise its weight is Beta(1, 9), and the weights above are how the components share the rest. Its mean
    is one point in ten, 90 % of its mass lies below 0.23, its density is highest at none, and it depends on neither K
    nor N. The range then holds outliers too, and the sd is larger for them: that makes the prior of the means wider,
    and moves the level of the scales by the logarithm of the ratio of the sds, which is small against its own sd of 2
    unless outliers lie hundreds of sds away.

    Attributes
    ----------
    weights
        Distribution over the simplex, or for K = 2 a `Beta` of the first weight, or K weights.
    means
        Distribution of each coordinate (shapes broadcast to (K, D)) or of each mean vector, or values.
    scales, variances
        Distribution of the component standard deviations, or of their squares; at most one of the two. Where there is a
        resolution, of v, that is of what lies above the floor.
    correlations
        Distribution over Cholesky factors of correlation matrices (`LKJCholesky`), or "marginally uniform" for the
        prior of Barnard, McCulloch and Meng (`MarginallyUniformCholesky`), or one number for all correlations, or
        correlation matrices.
    noise
        Distribution over (0, 1) of the weight of noise, or its value, where there is noise.
    degrees_of_freedom
        Distribution over positive numbers, one for all components or one for each, or values, where components are t
        distributions.
    resolution
        Width r of the steps to which columns were recorded, (D,) or one number, or "data" to find it from tied values,
        which is the default beside default scales; beside your own scales or variances the default is no floor.

    References
    ----------
    Log-normal scales with separate correlations: Barnard, McCulloch and Meng (2000), Statistica Sinica 10, 1281-1311;
    Lewandowski, Kurowicka and Joe (2009), doi 10.1016/j.jmva.2009.04.008; the range in place of a scale: Richardson and
    Green (1997), doi 10.1111/1467-9868.00095; degrees of freedom: Juarez and Steel (2010), doi 10.1198/jbes.2009.07145.

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
    resolution: Any = None
    noise: Any = None
    degrees_of_freedom: Any = None

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

    def for_data(
        self,
        x: Float[np.ndarray, "N D"],
        n_components: int,
        covariance_type: str = "full",
        *,
        sample_weight: Float[np.ndarray, " N"] | None = None,
        error_sds: Float[np.ndarray, "N D"] | None = None,
        with_noise: bool = False,
        with_tails: bool = False,
    ) -> "Prior":
        """Prior whose missing parts are filled in from the columns of x (N, D); rows of weight zero do not count.

        With `error_sds`, the known errors of the values, the prior of the scales is made for the true values: their
        variance is that of the data less the mean variance of the errors, but at least a hundredth of the former,
        because what is left may be less than nothing. The prior of the weight of noise is filled in where there is
        noise, that of degrees of freedom where there are t distributions.
        """
        if self.degrees_of_freedom is not None and not with_tails:
            found = "The prior sets degrees of freedom, which are not asked for: components are Gaussian, or hold them."
            remedy = "Leave degrees_of_freedom out of the Prior."
            raise ArgumentError(found, 'components="t" beside it, or no prior of them', remedy)
        if self.noise is not None and not with_noise:
            found = "The prior sets the weight of a noise that there is none of."
            raise ArgumentError(found, "noise=True beside it, or no prior of it", "Leave noise out of the Prior.")
        layout = Layout.of(n_components, x.shape[1], covariance_type)
        # Correlations of zero are what a prior that was completed for such a structure says.
        set_correlations = self.correlations is not None and not _is_zero(self.correlations)
        if set_correlations and x.shape[1] > 1 and not layout.correlated:
            raise ArgumentError(
                f"The prior sets correlations, which covariance_type {covariance_type!r} does not have.",
                'no prior of correlations, or covariance_type "full" or "tied"',
                "Leave the correlations out.",
            )
        weights = np.ones(len(x)) if sample_weight is None else sample_weight
        errors = np.zeros_like(x) if error_sds is None else error_sds
        points, errors, weights = x[weights > 0], errors[weights > 0], weights[weights > 0]
        given = {name: value for name, value in vars(self).items() if value is not None}
        parts = _defaults(points, errors, weights, layout, own_scales=self._spread is not None) | given
        if with_noise and self.noise is None:
            parts["noise"] = dist.Beta(*_NOISE)
        if with_tails and self.degrees_of_freedom is None:
            parts["degrees_of_freedom"] = ShiftedGamma(*_TAILS)
        if isinstance(parts.get("resolution"), str) and parts["resolution"] == FROM_DATA:
            parts["resolution"] = resolutions(points, weights, correlated=layout.correlated)
        return Prior(**parts)

    def sites(self, n_components: int, n_features: int, covariance_type: str = "full") -> Sites:
        """One distribution with full shape, or one fixed array, for each parameter of the model.

        Raises
        ------
        ArgumentError
            When a part is missing, has a shape or values that the parameter cannot have, or there is no prior for the
            structure.
        """
        self._require_complete()
        layout = Layout.of(n_components, n_features, covariance_type)
        spread = {"scales": self.scales} if self.scales is not None else {"variances": self.variances}
        resolution = 0.0 if self.resolution is None else self.resolution
        return build_sites(layout, self.weights, self.means, spread, self.correlations, resolution)

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
        return sample_sites(self.sites(n_components, n_features, covariance_type), num_draws, seed)

    def describe(self, columns: Sequence[str] | None = None) -> str:
        """One line for each parameter, hyperparameters in data units, by column where they differ."""
        words = self.in_words(columns)
        width = max(13, *map(len, words))
        return "\n".join(["Prior", *(f"  {name:{width}} {text}" for name, text in words.items())])

    def in_words(self, columns: Sequence[str] | None = None) -> dict[str, str]:
        """Words on the prior of each parameter, by its name."""
        unused = {"variances"} if self.variances is None else {"scales"}
        if self.resolution is None or not np.any(self.resolution):
            unused |= {"resolution"}
        unused |= {name for name in ("noise", "degrees_of_freedom") if getattr(self, name) is None}
        words = {name: _words(value, columns) for name, value in vars(self).items() if name not in unused}
        if "resolution" in words and not isinstance(self.resolution, str):
            words["resolution"] = f"steps of {_argument('', np.asarray(self.resolution), columns).removeprefix('=')}"
        return words

    def __repr__(self) -> str:
        return self.describe()

    @property
    def is_complete(self) -> bool:
        """Whether no part takes its scale from data."""
        return all(part is not None for part in (self.weights, self.means, self._spread, self.correlations))

    @property
    def _spread(self) -> Any:
        return self.scales if self.scales is not None else self.variances

    def _require_complete(self) -> None:
        if not self.is_complete:
            raise ArgumentError(
                "A part of this prior takes its scale from data, and there are none.",
                "a prior whose every part is given",
                "Call prior.for_data(x, n_components) first, or give weights, means, scales and correlations.",
            )


def _is_zero(part: Any) -> bool:
    return not isinstance(part, dist.Distribution) and np.ndim(part) == 0 and bool(np.asarray(part == 0.0))


def _defaults(
    x: Float[np.ndarray, "N D"],
    errors: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
    layout: Layout,
    *,
    own_scales: bool,
) -> dict[str, Any]:
    """Parts of the default prior, by their names; with scales of the user's own, without scales and resolution."""
    low, high, (n_scales, n_widths) = np.nanmin(x, 0), np.nanmax(x, 0), layout.n_scales
    every_mean = np.ones((layout.n_components, layout.n_features))
    found: dict[str, Any] = {
        "weights": dist.Dirichlet(np.ones(layout.n_components)),
        "means": dist.Normal((low + high) / 2 * every_mean, (high - low) / 2 * every_mean),
        "correlations": lkj_cholesky(layout.n_features) if layout.correlated else 0.0,
    }
    if own_scales:
        return found
    if np.isnan(x).any():
        variances = np.diag(seen_moments(x, weights).covariance)
    else:
        variances = np.average((x - np.average(x, axis=0, weights=weights)) ** 2, axis=0, weights=weights)
    seen = ~np.isnan(x)
    of_errors = weights @ np.where(seen, errors, 0.0) ** 2 / (weights @ seen)
    variances = np.maximum(variances - of_errors, _LEAST_SHARE * variances)
    typical = np.sqrt(variances if n_widths == layout.n_features else variances.mean(keepdims=True))
    return found | {"scales": ExchangeableLogNormal(n_scales, typical / 10), "resolution": FROM_DATA}


@in_float64
def sample_sites(sites: Sites, num_draws: int, seed: int) -> Mixture:
    """Mixtures (num_draws,) of parameters drawn from these sites."""
    drawn = jax.device_get(_draw(as_arrays(free(sites)), jax.random.key(seed), num_draws))
    held = {name: np.broadcast_to(site, (num_draws, *site.shape)) for name, site in sites.items() if name not in drawn}
    return assemble(drawn | held)


@partial(jax.jit, static_argnums=2)
def _draw(sites: Sites, key: Any, num_draws: int) -> dict[str, Any]:
    keys = jax.random.split(key, len(sites))
    return {name: site.sample(key, (num_draws,)) for key, (name, site) in zip(keys, sites.items(), strict=True)}


def _words(value: Any, columns: Sequence[str] | None) -> str:
    """A distribution with its hyperparameters, or the value at which a parameter is held."""
    if value is None or isinstance(value, str):
        return value or "the default"
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
