"""The parameters of the model: their shapes, their priors, and the unconstrained coordinates in which NUTS moves.

An axis that components or features share has length one, so that every structure is assembled by broadcasting:

=========  ====  ======  ==================  =====================
name       code  scales  correlation_tril    covariances
=========  ====  ======  ==================  =====================
full       VVV   (K, D)  (K, D, D)           one for each
tied       EEE   (1, D)  (1, D, D)           one for all
diag       VVI   (K, D)  identity            without correlations
.          EEI   (1, D)  identity            diagonal, one for all
spherical  VII   (K, 1)  identity            one scale for each
.          EII   (1, 1)  identity            one scale for all
=========  ====  ======  ==================  =====================

Where columns have a resolution, the covariances are those of scales and correlations plus a floor, which is held:
`least_covariance` (1, D, D), or without correlations `least_variances` (1, D), for spherical components (1, 1).

Noise has the weight `noise_weight` (1,), a share of all points, and a box that is held: `noise_log_volume` (1,),
`noise_corner` (1, D) and `noise_edges` (1, D, D). The site `weights` is then how the components share what is left.

Components that are t distributions have `degrees_of_freedom`, (1,) where all have the same, else (K,). The sites of
scales and correlations are then those of the scatters.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import constraints

from bayes_gmm.bayes.coordinates import relative_to, transform_of
from bayes_gmm.bayes.marginally_uniform_cholesky import MarginallyUniformCholesky
from bayes_gmm.bayes.resolution import above_the_floor
from bayes_gmm.core.linalg import cholesky_factors, product
from bayes_gmm.core.validation import real_numbers
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mixture.covariance_structures import find_structure
from bayes_gmm.mixture.degrees_of_freedom import COMMON
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise

Sites = dict[str, Any]
"""One entry for each parameter of the model: a distribution, or an array that holds the parameter fixed."""

MARGINALLY_UNIFORM = "marginally uniform"
"""Name by which the prior of that kind is chosen for the correlations."""

_HELD = "A number or an array holds a parameter fixed; give a NumPyro distribution to put a prior on it."
_LEAST_NOISE = 1e-3
"""Weight of noise, and of all else, to which that of a mixture without any is lifted where it becomes coordinates."""

_NO_TAILS = 20.0
"""Degrees of freedom with which a mixture of Gaussians becomes coordinates, where the default prior has mass."""

_STRUCTURES = ("VVV", "EEE", "VVI", "EEI", "VII", "EII")


class Layout(NamedTuple):
    """Numbers of components and features, shape of the scales (C, F), and whether there are correlations."""

    n_components: int
    n_features: int
    n_scales: tuple[int, int]
    correlated: bool

    @classmethod
    def of(cls, n_components: int, n_features: int, covariance_type: Any) -> "Layout":
        """Layout of a structure.

        Raises
        ------
        ArgumentError
            When there is no such structure, or none with a prior.
        """
        name = find_structure(covariance_type, n_features).name
        if name not in _STRUCTURES:
            raise ArgumentError(
                f"covariance_type is {covariance_type!r}, for which there is no prior.",
                '"full", "tied", "diag", "spherical", "EEI" or "EII"',
                "The other structures are for fit_em.",
            )
        volume, shape, orientation = tuple(name)
        scales = (1 if volume == "E" else n_components, 1 if shape == "I" else n_features)
        return cls(n_components, n_features, scales, orientation != "I" and n_features > 1)


def build_sites(
    layout: Layout, weights: Any, means: Any, scales: dict[str, Any], correlations: Any, resolution: Any
) -> Sites:
    """One distribution with full shape, or one fixed array, for each parameter of the model, and the floor."""
    K, D = layout.n_components, layout.n_features
    (name, spread), (C, F) = *scales.items(), layout.n_scales
    return {
        "weights": _site("weights", _over_simplex(weights, K), (), (K,), constraints.simplex),
        "means": _site("means", means, (K,), (D,), constraints.real),
        name: _site(name, spread, (C,), (F,), constraints.positive),
        "correlation_tril": _correlation_site(correlations, C, D) if layout.correlated else np.eye(D)[None],
        **_floor(layout, resolution),
    }


def assemble(values: dict[str, Any]) -> Mixture:
    """Mixture with the given weights, means, scales or variances, and correlation Cholesky factors, above the floor."""
    scales = values["scales"] if "scales" in values else jnp.sqrt(values["variances"])
    if "least_variances" in values:
        scales = jnp.sqrt(scales**2 + values["least_variances"])
    scale_tril = scales[..., None] * values["correlation_tril"]
    if "least_covariance" in values:
        scale_tril = cholesky_factors(product(scale_tril, scale_tril.mT) + values["least_covariance"])
    means, log_weights, noise = values["means"], jnp.log(values["weights"]), None
    if "noise_weight" in values:
        noise = _noise(values)
        log_weights = log_weights + jnp.log1p(-values["noise_weight"])
    return Mixture(
        log_weights=log_weights,
        means=means,
        scale_tril=jnp.broadcast_to(scale_tril, (*means.shape, means.shape[-1])),
        noise=noise,
        degrees_of_freedom=_degrees(values, log_weights),
    )


def _degrees(values: dict[str, Any], log_weights: Float[Any, "*batch K"]) -> Float[Any, "*batch K"] | None:
    if "degrees_of_freedom" not in values:
        return None
    return jnp.broadcast_to(values["degrees_of_freedom"], log_weights.shape)


def degrees_sites(wanted: Any, prior: Any, n_components: int) -> Sites:
    """The site of degrees of freedom: those that are held, or a prior of one for all or one for each component."""
    if not isinstance(wanted, str):
        return {"degrees_of_freedom": wanted}
    n_rows = 1 if wanted == COMMON else n_components
    return {"degrees_of_freedom": _site("degrees_of_freedom", prior, (n_rows,), (), constraints.positive)}


def noise_sites(noise: Noise, weight: Any) -> Sites:
    """Sites of noise with this box: a prior of its weight, or a held weight, and the box."""
    return {
        "noise_weight": _site("noise_weight", weight, (1,), (), constraints.unit_interval),
        "noise_log_volume": np.reshape(noise.log_volume, (1,)),
        "noise_corner": np.asarray(noise.corner)[None],
        "noise_edges": np.asarray(noise.edges)[None],
    }


def _noise(values: dict[str, Any]) -> Noise:
    """Noise with the values of its sites; the box is the same for all draws, which may have leading axes."""
    log_weight = jnp.log(values["noise_weight"][..., 0])
    box = {name: values[f"noise_{name}"] for name in ("log_volume", "corner", "edges")}
    return Noise(
        log_weight=log_weight,
        log_volume=box["log_volume"][..., 0],
        corner=box["corner"][..., 0, :],
        edges=box["edges"][..., 0, :, :],
    )


def disassemble(mixture: Mixture, sites: Sites) -> dict[str, Any]:
    """Values of the free parameters at a mixture of this structure: the inverse of `assemble`.

    What lies below the floor is lifted a little above it, and noise without a weight gets a little.
    """
    scales, correlation_tril = above_the_floor(mixture, sites)
    weights = {"weights": mixture.weights}
    if mixture.noise is not None:
        share = jnp.clip(mixture.noise_weight, _LEAST_NOISE, 1 - _LEAST_NOISE)
        weights = {"weights": mixture.weights / mixture.weights.sum(), "noise_weight": share[None]}
    degrees = mixture.degrees_of_freedom
    values = weights | {
        "degrees_of_freedom": jnp.full_like(mixture.log_weights, _NO_TAILS) if degrees is None else degrees,
        "means": mixture.means,
        "scales": scales,
        "variances": scales**2,
        "correlation_tril": correlation_tril,
    }
    return {name: values[name][tuple(map(slice, site.shape()))] for name, site in free(sites).items()}


def reorder(values: dict[str, Any], order: Any) -> dict[str, Any]:
    """Values of the parameters with the components in another order; what components share stays as it is."""
    K = len(order)
    return {name: value[order] if value.shape[0] == K > 1 else value for name, value in values.items()}


def free(sites: Sites) -> Sites:
    """The sites that have a distribution, in the order in which their coordinates are laid out."""
    return {name: site for name, site in sorted(sites.items()) if isinstance(site, dist.Distribution)}


def coordinate_shapes(sites: Sites) -> dict[str, tuple[int, ...]]:
    """Shapes of the unconstrained coordinates of each free parameter, in the order in which they are laid out."""
    return {name: transform_of(site.support).inverse_shape(site.shape()) for name, site in free(sites).items()}


def n_coordinates_of(sites: Sites) -> int:
    """Number of unconstrained coordinates of the free parameters."""
    return sum(int(np.prod(shape)) for shape in coordinate_shapes(sites).values())


def shape_of(site: Any) -> tuple[int, ...]:
    """Shape of a parameter, whether it has a distribution or is held."""
    return tuple(site.shape() if isinstance(site, dist.Distribution) else np.shape(site))


def unconstrain(sites: Sites, values: dict[str, Any]) -> Float[Array, " P"]:
    """Unconstrained coordinates of the free parameters, in one vector."""
    coordinates = [transform_of(site.support).inv(values[name]) for name, site in free(sites).items()]
    return jnp.concatenate([jnp.ravel(part) for part in coordinates])


def constrain(
    sites: Sites, coordinates: Float[Array, " P"], factors: Float[Array, "C D D"] | None = None
) -> tuple[dict[str, Any], Float[Array, ""]]:
    """Parameters at unconstrained coordinates and their log prior density, with the change of variables.

    Where there are factors, scales and correlations are those relative to them (`relative_to`).
    """
    values = {name: site for name, site in sites.items() if name not in free(sites)}
    volumes, start = {}, 0
    for name, site in free(sites).items():
        transform = transform_of(site.support)
        shape = transform.inverse_shape(site.shape())
        stop = start + int(np.prod(shape))
        part = coordinates[start:stop].reshape(shape)
        values[name] = transform(part)
        volumes[name] = transform.log_abs_det_jacobian(part, values[name]).sum()
        start = stop
    if factors is not None:
        changed, volume = relative_to(factors, values)
        values |= changed
        volumes["correlation_tril"] += volume
    log_density = jnp.zeros(())
    for name, site in free(sites).items():
        log_density += site.log_prob(values[name]).sum() + volumes[name]
    # Where a square underflows, NumPyro's inverse gamma is infinite, and a sampler that steps there never leaves.
    return values, jnp.where(log_density < jnp.inf, log_density, -jnp.inf)


def exchangeable(sites: Sites) -> bool:
    """Whether the prior treats all components alike, so that labels mean nothing."""

    def alike(leaf: Any) -> bool:
        values = np.asarray(leaf)
        return values.ndim == 0 or bool((values == values[:1]).all())

    held = [site for name, site in sites.items() if name not in free(sites)]
    own = [_own_part(site) for name, site in free(sites).items() if name == "weights" or site.batch_shape]
    return all(map(alike, jax.tree.leaves((held, own))))


def _own_part(site: Any) -> Any:
    """Part of a distribution whose first axis is that of the components; None where one was repeated for all."""
    if isinstance(site, dist.Independent):
        return _own_part(site.base_dist)
    if isinstance(site, dist.ExpandedDistribution):
        repeated = len(site.base_dist.batch_shape) < len(site.batch_shape) or site.base_dist.batch_shape[0] == 1
        return None if repeated else _own_part(site.base_dist)
    return site


def innermost(distribution: Any) -> Any:
    """The distribution that carries the hyperparameters, without the wrappers that only expand its shape."""
    while hasattr(distribution, "base_dist") and not distribution.arg_constraints:
        distribution = distribution.base_dist
    return distribution


def family(distribution: Any) -> str:
    """Name of a distribution, such as "HalfNormal"."""
    return type(innermost(distribution)).__name__


def _floor(layout: Layout, resolution: Any) -> Sites:
    """Covariance of an error of the width of the resolution, by itself where there is one; none without."""
    D, remedy = layout.n_features, "Give the width of the steps to which each column was recorded, or 0 for no floor."
    widths = real_numbers("The resolution", resolution, remedy)
    if widths.shape not in ((), (D,)) or not (np.isfinite(widths).all() and (widths >= 0).all()):
        raise ArgumentError(f"The resolution is {widths.tolist()}.", f"a number of 0 or more, or {D} of them", remedy)
    variances = np.broadcast_to(widths, (D,)) ** 2 / 12
    if not variances.any():
        return {}
    if layout.correlated:
        return {"least_covariance": np.diag(variances)[None]}
    return {"least_variances": (variances if layout.n_scales[1] == D else variances.mean(keepdims=True))[None]}


def _over_simplex(value: Any, n_components: int) -> Any:
    """A beta distribution of the first of two weights, as the Dirichlet distribution of both; others unchanged."""
    if not isinstance(value, dist.Beta):
        return value
    if n_components != 2 or value.batch_shape:
        raise _wrong_shape("weights", value.batch_shape, (n_components,))
    return dist.Dirichlet(np.array([value.concentration1, value.concentration0], dtype=np.float64))


def _site(name: str, value: Any, batch: tuple[int, ...], event: tuple[int, ...], support: Any) -> Any:
    if not isinstance(value, dist.Distribution):
        return _fixed(name, value, (*batch, *event), support)
    _check_support(name, value, support)
    if value.event_shape == (*batch, *event) and not value.batch_shape:
        return value
    if value.event_shape == event:
        return _expand(name, value, batch)
    if value.event_shape == ():
        return _expand(name, value, (*batch, *event)).to_event(len(event))
    raise _wrong_shape(name, value.batch_shape + value.event_shape, (*batch, *event))


def _check_support(name: str, value: Any, support: Any) -> None:
    """Refuse distributions over other values than the parameter can have: whole numbers, negative scales."""
    if support is constraints.simplex:
        inside = isinstance(value.support, type(support))
    else:
        below = np.full(value.event_shape, -1.0)
        inside = support is constraints.real or not np.any(value.support(below))
    if support is constraints.unit_interval:
        inside = inside and not np.any(value.support(np.full(value.event_shape, 2.0)))
    if value.is_discrete or not inside:
        raise ArgumentError(
            f"The prior of {name} is {type(value).__name__}, over {_words(value.support)} values.",
            f"a continuous distribution over {_words(support)} values",
            "A Dirichlet is over weights, a Beta over that of noise; LogNormal, HalfNormal, Gamma and InverseGamma are "
            "over positive values.",
        )


def _words(support: Any) -> str:
    return type(support).__name__.strip("_").replace("_", " ").lower()


def _expand(name: str, distribution: Any, shape: tuple[int, ...]) -> Any:
    try:
        return distribution.expand(shape)
    except ValueError:
        raise _wrong_shape(name, distribution.batch_shape, shape) from None


def _fixed(name: str, value: Any, shape: tuple[int, ...], support: Any) -> np.ndarray:
    numbers = real_numbers(f"The prior of {name}", value, _HELD)
    try:
        array = np.broadcast_to(numbers, shape)
    except ValueError:
        raise _wrong_shape(name, numbers.shape, shape) from None
    if not (np.isfinite(array).all() and np.all(support(array))):
        raise ArgumentError(
            f"The prior holds {name} at {array.tolist()}.",
            f"values that are {_words(support)}",
            _HELD,
        )
    return array


def _correlation_site(value: Any, n_components: int, n_features: int) -> Any:
    if isinstance(value, str):
        value = _named_correlations(value, n_features)
    if isinstance(value, dist.Distribution):
        event = (n_features, n_features)
        if value.event_shape != event or not isinstance(value.support, type(constraints.corr_cholesky)):
            raise _wrong_shape("correlations", value.event_shape, event)
        return _expand("correlations", value, (n_components,))
    matrices = real_numbers("The prior of correlations", value, _HELD)
    if matrices.ndim == 0:
        matrices = np.where(np.eye(n_features, dtype=bool), 1.0, matrices)
    shape = (n_components, n_features, n_features)
    try:
        held = _fixed("correlations", matrices, shape, constraints.real_matrix)
        if not ((np.diagonal(held, axis1=1, axis2=2) == 1).all() and np.allclose(held, held.mT, rtol=0, atol=1e-12)):
            raise np.linalg.LinAlgError
        return np.linalg.cholesky(held)
    except np.linalg.LinAlgError:
        raise ArgumentError(
            f"The prior holds correlations at {matrices.tolist()}, which no data can have.",
            "a positive definite correlation matrix",
            "Correlations lie between -1 and 1, and one number for all of D features above -1 / (D - 1).",
        ) from None


def _named_correlations(name: str, n_features: int) -> Any:
    if name == MARGINALLY_UNIFORM:
        return MarginallyUniformCholesky(n_features)
    raise ArgumentError(
        f"The prior of correlations is {name!r}.",
        f'"{MARGINALLY_UNIFORM}", a distribution such as LKJCholesky({n_features}, 1.0), or values',
        "Leave the correlations out for LKJ(1).",
    )


def _wrong_shape(name: str, found: tuple[int, ...], expected: tuple[int, ...]) -> ArgumentError:
    return ArgumentError(
        f"The prior of {name} has shape {found}.",
        f"a shape that broadcasts to {expected}, components first and features last",
        "Give one distribution for all, one for each feature, or one for each component and feature.",
    )
