"""The prior: NumPyro distributions in data units, with defaults that take their scale from the data."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import biject_to, constraints

from .errors import ArgumentError
from .mixture import Mixture

Sites = dict[str, Any]
"""One entry for each parameter of the model: a distribution, or an array that holds the parameter fixed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    r"""Prior of a Gaussian mixture, in data units.

    .. math:: \pi \sim \mathrm{Dirichlet}(1, \dots, 1), \quad \mu_{kd} \sim N(m_d, (2 s_d)^2), \quad
              \sigma_{kd}^2 \sim \mathrm{InverseGamma}(2, \tfrac12 s_d^2 K^{-2/D}), \quad R_k \sim \mathrm{LKJ}(2)

    are the defaults, with the data's means m and standard deviations s. Inverse-gamma variances rule out the
    spike that a prior with mass at zero grows on tied data. A distribution replaces a default; a number or an array
    holds the parameter at that value.

    Attributes
    ----------
    weights
        Distribution over the simplex, or K weights.
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
    >>> prior = Prior(means=dist.Normal(0.0, 2.0), scales=dist.LogNormal(-1.0, 1.0))
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

    def for_data(self, x: Any, n_components: int) -> "Prior":
        """Fill what was left out from the means and standard deviations of the columns of x (N, D)."""
        D = x.shape[1]
        center, spread = x.mean(0), x.std(0)
        of_components = (n_components, D)
        ones = np.ones(of_components)
        defaults: Sites = {
            "weights": dist.Dirichlet(np.ones(n_components)),
            "means": dist.Normal(center * ones, 2 * spread * ones),
            "correlations": dist.LKJCholesky(D, 2.0) if D > 1 else 0.0,
        }
        if self.scales is None:
            shrinkage = 0.5 * n_components ** (-2 / D)
            defaults["variances"] = dist.InverseGamma(2 * ones, shrinkage * spread**2 * ones)
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return replace(self, **missing)

    def sites(self, n_components: int, n_features: int) -> Sites:
        """One distribution with full shape, or one fixed array, for each parameter of the model."""
        self._require_complete()
        K, D = n_components, n_features
        spread = "scales" if self.scales is not None else "variances"
        correlations = self.correlations if D > 1 else 0.0
        return {
            "weights": _site("weights", self.weights, (), (K,), constraints.simplex),
            "means": _site("means", self.means, (K,), (D,), constraints.real),
            spread: _site(spread, getattr(self, spread), (K,), (D,), constraints.positive),
            "correlation_tril": _correlation_site(correlations, K, D),
        }

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

    def _require_complete(self) -> None:
        spread = self.scales if self.scales is not None else self.variances
        if any(part is None for part in (self.weights, self.means, spread, self.correlations)):
            raise ArgumentError(
                "A part of this prior takes its scale from data, and there are none.",
                "a prior whose every part is given",
                "Call prior.for_data(x, n_components) first, or give weights, means, scales and correlations.",
            )


def assemble(values: dict[str, Any]) -> Mixture:
    """Mixture with the given weights, means, scales or variances, and correlation Cholesky factors."""
    scales = values["scales"] if "scales" in values else jnp.sqrt(values["variances"])
    return Mixture(
        log_weights=jnp.log(values["weights"]),
        means=values["means"],
        scale_tril=scales[..., None] * values["correlation_tril"],
    )


def disassemble(mixture: Mixture, names: Any) -> dict[str, Any]:
    """Values of the named sites at a mixture: the inverse of `assemble`."""
    scales = mixture.scales
    values = {
        "weights": mixture.weights,
        "means": mixture.means,
        "scales": scales,
        "variances": scales**2,
        "correlation_tril": mixture.scale_tril / scales[..., None],
    }
    return {name: values[name] for name in names}


def free(sites: Sites) -> Sites:
    """The sites that have a distribution, in the order in which their coordinates are laid out."""
    return {name: site for name, site in sorted(sites.items()) if isinstance(site, dist.Distribution)}


def unconstrain(sites: Sites, values: dict[str, Any]) -> Float[Array, " P"]:
    """Unconstrained coordinates of the free parameters, in one vector."""
    coordinates = [biject_to(site.support).inv(values[name]) for name, site in free(sites).items()]
    return jnp.concatenate([jnp.ravel(part) for part in coordinates])


def constrain(sites: Sites, coordinates: Float[Array, " P"]) -> tuple[dict[str, Any], Float[Array, ""]]:
    """Parameters at unconstrained coordinates and their log prior density, with the change of variables."""
    values = {name: site for name, site in sites.items() if name not in free(sites)}
    log_density, start = jnp.zeros(()), 0
    for name, site in free(sites).items():
        transform = biject_to(site.support)
        shape = transform.inverse_shape(site.shape())
        stop = start + int(np.prod(shape))
        part = coordinates[start:stop].reshape(shape)
        values[name] = transform(part)
        jacobian = transform.log_abs_det_jacobian(part, values[name])
        log_density += site.log_prob(values[name]).sum() + jacobian.sum()
        start = stop
    return values, log_density


def as_arrays(sites: Sites) -> Sites:
    """The same sites with every hyperparameter a float array, so that new values need no new compilation."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=float), sites)


def _site(name: str, value: Any, batch: tuple[int, ...], event: tuple[int, ...], support: Any) -> Any:
    if not isinstance(value, dist.Distribution):
        return _fixed(name, value, (*batch, *event), support)
    if value.event_shape == event:
        return _expand(name, value, batch)
    if value.event_shape == ():
        return _expand(name, value, (*batch, *event)).to_event(len(event))
    raise _wrong_shape(name, value.batch_shape + value.event_shape, (*batch, *event))


def _expand(name: str, distribution: Any, shape: tuple[int, ...]) -> Any:
    try:
        return distribution.expand(shape)
    except ValueError:
        raise _wrong_shape(name, distribution.batch_shape, shape) from None


def _fixed(name: str, value: Any, shape: tuple[int, ...], support: Any) -> np.ndarray:
    try:
        array = np.broadcast_to(np.asarray(value, dtype=np.float64), shape)
    except (TypeError, ValueError):
        raise _wrong_shape(name, np.shape(value), shape) from None
    if not np.all(support(array)):
        raise ArgumentError(
            f"The prior holds {name} at {array.tolist()}.",
            f"values that are {type(support).__name__.strip('_').replace('_', ' ').lower()}",
            "A number or an array holds a parameter fixed; give a NumPyro distribution to put a prior on it.",
        )
    return array


def _correlation_site(value: Any, n_components: int, n_features: int) -> Any:
    if isinstance(value, dist.Distribution):
        event = (n_features, n_features)
        if value.event_shape != event:
            raise _wrong_shape("correlations", value.event_shape, event)
        return _expand("correlations", value, (n_components,))
    matrices = np.asarray(value, dtype=np.float64)
    if matrices.ndim == 0:
        matrices = np.where(np.eye(n_features, dtype=bool), 1.0, matrices)
    shape = (n_components, n_features, n_features)
    try:
        return np.linalg.cholesky(_fixed("correlations", matrices, shape, constraints.real_matrix))
    except np.linalg.LinAlgError:
        raise ArgumentError(
            f"The prior holds correlations at {matrices.tolist()}, which no data can have.",
            "a positive definite correlation matrix",
            "Correlations lie between -1 and 1, and one number for all of D features above -1 / (D - 1).",
        ) from None


def _wrong_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> ArgumentError:
    return ArgumentError(
        f"The prior of {name} has shape {found}.",
        f"a shape that broadcasts to {expected}, components first and features last",
        "Give one distribution for all, one for each feature, or one for each component and feature.",
    )
