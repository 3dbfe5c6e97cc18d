r"""The resolution at which columns were recorded, which is the least that a table can tell of a component's spread.

A value that was rounded to steps of width r has an error of variance r^2 / 12 (Sheppard's correction), so no component
of a recorded column varies less, and

.. math:: \Sigma_k = \Delta + V_k R_k V_k, \qquad \Delta = \mathrm{diag}(r_d^2 / 12)

claims nothing that rounding does not. Without it the posterior of K >= 2 components is improper or has spikes: the
likelihood is unbounded where a component shrinks onto points with equal values. It has to be a floor on the whole
matrix, since with correlations a component shrinks along any direction (`tied_values`). With it the likelihood is at
most (2 pi)^(-N D / 2) |Delta|^(-N / 2), so that every proper prior has a proper posterior.

References
----------
Sheppard (1897), doi 10.1112/plms/s1-29.1.353.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.core.hyperplanes import largest_hyperplane
from bayes_gmm.mixture.mixture import Mixture

_SAME_VALUE = 1e-12
"""Difference of two values, relative to the range of the column, that is taken for rounding in the computer."""

_QUANTILE = 0.05
"""Quantile of the gaps beside tied values that counts as the step: the smallest gap may be a rounding artefact."""

_OF_COINCIDENCES = 1e-6
"""Resolution, relative to a column's sd, where points lie on a hyperplane though no values are tied."""


_LEAST_ABOVE = 1e-2
"""Variance above the floor, relative to it, of a mixture that lies on it or below."""

_ABOVE = 1e-6
"""Variance above the floor, relative to it, down to which a mixture is taken apart exactly."""

_HARDLY_WIDER = 1.5
"""Variance, relative to that of an error of the resolution, up to which a component counts as at the resolution."""


def resolutions(
    x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"], *, correlated: bool
) -> Float[np.ndarray, " D"]:
    """Width of the steps to which each column was recorded, from gaps beside tied values; 0 where nothing is tied.

    A point of weight 2 ties with itself, as two equal rows do. Where components have correlations and more than D + 1
    points lie on a hyperplane of columns without ties, as where one column repeats another in part of the rows, these
    columns count as recorded to a millionth of their sd. Cells that were not seen (NaN) say nothing; hyperplanes are
    looked for among the complete rows.
    """
    found = np.array([_of_column(column[~np.isnan(column)], weights[~np.isnan(column)]) for column in x.T])
    untied = np.flatnonzero(found == 0)
    whole = ~np.isnan(x).any(1)
    if correlated and len(untied) > 1 and whole.sum() > len(untied) + 1:
        plane = largest_hyperplane(x[np.ix_(whole, untied)], weights[whole])
        if plane.weight >= len(untied) + 2:
            found[untied] = np.where(plane.normal != 0, _OF_COINCIDENCES * np.nanstd(x[:, untied], 0), 0.0)
    return found


def at_the_resolution(draws: Mixture, resolution: Float[np.ndarray, " D"], columns: Sequence[str]) -> Iterator[str]:
    """Sentences on components that are in half of the draws hardly wider than the resolution in some direction."""
    recorded = np.flatnonzero(resolution)
    units = resolution[recorded] / np.sqrt(12)
    covariances = draws.scatters[..., recorded[:, None], recorded] / (units[:, None] * units)
    covariances = covariances.reshape(-1, *covariances.shape[-3:])
    narrowest = np.median(np.linalg.eigvalsh(covariances)[..., 0], axis=0)
    along = np.median(np.diagonal(covariances, axis1=-2, axis2=-1), axis=0)
    for component in np.flatnonzero(narrowest < _HARDLY_WIDER):
        narrow = along[component] < _HARDLY_WIDER
        where = [f"{columns[d]} (steps of {resolution[d]:.4g})" for d in recorded[narrow]]
        yield (
            f"Component {component} is as narrow as the resolution in "
            f"{', '.join(where) if where else 'a combination of columns'}: the data cannot tell how narrow it is."
        )


def _of_column(values: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"]) -> float:
    """Low quantile of the gaps between tied values and their nearest neighbours, each counted as often as it stands."""
    order = np.argsort(values)
    ordered, weights = values[order], weights[order]
    steps = np.diff(ordered)
    number = np.concatenate([[0], np.cumsum(steps > _SAME_VALUE * np.ptp(values))])
    times = np.bincount(number, weights)
    distinct = ordered[np.unique(number, return_index=True)[1]]
    gaps = np.diff(distinct, prepend=-np.inf, append=np.inf)
    nearest = np.minimum(gaps[:-1], gaps[1:])
    tied = times >= 2
    if not tied.any():
        return 0.0
    by_size = np.argsort(nearest[tied])
    shares = np.cumsum(times[tied][by_size])
    first = np.searchsorted(shares, _QUANTILE * shares[-1])
    return float(nearest[tied][by_size][first])


def above_the_floor(mixture: Mixture, sites: Mapping[str, Any]) -> tuple[Float[Any, "K D"], Float[Any, "K D D"]]:
    """Scales and Cholesky factors of the correlations of what the covariances have above the floor."""
    if "least_variances" in sites:
        floor = sites["least_variances"]
        above = mixture.scales**2 - floor
        scales = jnp.sqrt(jnp.where(above > _ABOVE * floor, above, _LEAST_ABOVE * floor))
        return scales, jnp.broadcast_to(jnp.eye(mixture.n_features), mixture.scale_tril.shape)
    scale_tril = mixture.scale_tril
    if "least_covariance" in sites:
        scale_tril = _lifted(mixture.scatters, sites["least_covariance"][0])
    scales = jnp.sqrt((scale_tril**2).sum(-1))
    return scales, scale_tril / scales[..., None]


def _lifted(covariances: Float[Any, "K D D"], floor: Float[Any, "D D"]) -> Float[Array, "K D D"]:
    """Cholesky factors of the covariances less the floor, whose eigenvalues are kept positive.

    Units are those of the floor, or of the components' sds in columns without one.
    """
    least, own = jnp.diagonal(floor), jnp.diagonal(covariances, axis1=1, axis2=2)
    units = jnp.sqrt(jnp.where(least > 0, least, own))
    sizes, axes = jnp.linalg.eigh((covariances - floor) / (units[:, :, None] * units[:, None]))
    clipped = (axes * jnp.maximum(sizes, _LEAST_ABOVE)[:, None]) @ axes.mT
    exact = jnp.linalg.cholesky(covariances - floor)
    lifted = units[..., None] * jnp.linalg.cholesky(clipped)
    return jnp.where((sizes.min(-1) > _ABOVE)[:, None, None], exact, lifted)
