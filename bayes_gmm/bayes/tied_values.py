r"""Whether the prior of the scales survives tied data.

A component that sits on m points with the same value contributes sigma^(-m) to the likelihood, and the room for its
mean gives one sigma back, so that the posterior density of log sigma goes as

.. math:: p(\log \sigma) \, \sigma^{1 - m}, \qquad \sigma \to 0.

Where that does not fall to zero there is no posterior (half-normal, half-Cauchy, exponential, uniform scales); where it
does but peaks below the rounding of the data, that spike can outweigh everything (log-normal scales).

Where components have correlations, one shrinks onto a hyperplane of points too (`largest_hyperplane`). Where m points
lie on it and the sd across it is s, the likelihood goes as s^(-m), the room for the mean and the direction as s^D, and
LKJ(eta) as s^(2 eta - 1) ds, whatever the prior of the scales. So there is no posterior where

.. math:: m \ge D + 2 \eta.

Covariances that all components share shrink only where all points lie on as many values, or parallel hyperplanes, as
there are components. Columns with a resolution in the prior cannot be shrunk onto (`resolution`).

References
----------
For single points: Day (1969), doi 10.1093/biomet/56.3.463; priors that prevent it: Richardson and Green (1997),
doi 10.1111/1467-9868.00095.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float
from numpyro import distributions as dist

from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.sites import Sites, family, shape_of
from bayes_gmm.core.hyperplanes import largest_hyperplane
from bayes_gmm.core.precision import in_float64
from bayes_gmm.io.table import Table

_SPIKE = 5.0
"""Nats by which a spike on tied data may exceed the same points under the rest of the mixture before it is named."""

_FLAT = 1e-6
"""Rise of the log density over a quarter of a unit of log sigma that is taken for rounding."""

_SAME_VALUE = 1e-9
"""Difference of two values, relative to the spread, that is taken for rounding."""

_DEPTH = np.linspace(-100.0, 0.0, 401)
"""Logarithms of scales, relative to the finest step in the data, at which a spike is looked for."""


class Tie(NamedTuple):
    """The most frequent value of a column, or the most frequent row when all features share a scale.

    `times` is the weight of the points, `n_means` the number of means whose room is lost to them.
    """

    where: str
    column: int
    times: float
    n_means: int
    n_equal: int
    step: float
    log_density: float
    log_spread: float


def tie_warnings(sites: Sites, table: Table, weights: Float[np.ndarray, " N"]) -> list[str]:
    """Sentences on ties that make the posterior improper, or on which a spike can outweigh everything else."""
    kept = weights > 0
    points = _Points(table.values[kept], weights[kept], table.columns, shape_of(sites["weights"])[0])
    return [*_onto_values(sites, points), *_onto_hyperplanes(sites, points)]


class _Points(NamedTuple):
    """Rows with a positive weight, the names of their columns, and the number of components."""

    values: Float[np.ndarray, "N D"]
    weights: Float[np.ndarray, " N"]
    columns: Sequence[str]
    n_components: int


def _onto_values(sites: Sites, points: _Points) -> Iterator[str]:
    name = "scales" if "scales" in sites else "variances"
    site = sites[name]
    if not isinstance(site, dist.Distribution):
        return
    free = [
        tie for tie in _ties(points, *site.shape()) if not _floored(sites)[tie.column : tie.column + tie.n_equal].all()
    ]
    judged = [(_judge(tie, site, name, points.weights.sum()), tie) for tie in free]
    for verdict in ("improper", "spike"):
        if found := [tie for other, tie in judged if other == verdict]:
            yield _sentence(verdict, found, family(site), name)


def _floored(sites: Sites) -> Bool[np.ndarray, " D"]:
    """Whether each column has a resolution, under which no component can shrink."""
    if "least_covariance" in sites:
        return np.diagonal(np.asarray(sites["least_covariance"])[0]) > 0
    D = int(np.prod(shape_of(sites["correlation_tril"])[-1:]))
    return np.broadcast_to(np.asarray(sites.get("least_variances", np.zeros((1, 1))))[0] > 0, (D,))


def _ties(points: _Points, n_scales: int, n_widths: int) -> Iterator[Tie]:
    """Ties that scales of this shape can shrink onto: shared ones only where there are no more values than means."""
    shared = n_scales == 1
    if n_widths == points.values.shape[1]:
        parts = [(points.values[:, [d]], f"in column {name!r} the value", d) for d, name in enumerate(points.columns)]
    else:
        parts = [(points.values, "the row", 0)]
    for values, where, column in parts:
        whole = ~np.isnan(values).any(1)
        tie = _tie_of(values[whole], points.weights[whole], where, column)
        if not shared:
            yield tie
        elif (distinct := len(np.unique(values[whole], axis=0))) <= points.n_components:
            yield tie._replace(times=points.weights.sum(), n_means=distinct)


def _tie_of(values: Float[np.ndarray, "N E"], weights: Float[np.ndarray, " N"], where: str, column: int) -> Tie:
    """Most frequent row of `values` (N, n_equal), and how densely its neighbourhood is populated."""
    rows, number = np.unique(values, axis=0, return_inverse=True)
    counts = np.bincount(number.ravel(), weights)
    top = int(counts.argmax())
    spread = values.std(0)
    near = np.average((np.abs(values - rows[top]) <= 0.25 * spread).all(1), weights=weights)
    gaps = [np.diff(np.unique(part)) for part in values.T]
    gaps = [gap[gap > _SAME_VALUE * size] for gap, size in zip(gaps, spread, strict=True)]
    shown = ", ".join(f"{value:g}" for value in rows[top])
    return Tie(
        where=f"{where} {shown}" if values.shape[1] == 1 else f"{where} ({shown})",
        column=column,
        times=float(counts[top]),
        n_means=1,
        n_equal=values.shape[1],
        step=float(min(gap.min() for gap in gaps if gap.size)),
        log_density=float(np.log(near) - np.log(0.5 * spread).sum()),
        log_spread=float(np.log(spread).mean()),
    )


def _judge(tie: Tie, site: Any, name: str, n_points: float) -> str:
    """Whether the density of log sigma is "improper", a "spike", or neither ("")."""
    if tie.times < 2:
        return ""
    log_scales = _DEPTH + np.log(tie.step)
    *of_scales, of_spread = _log_prior(site, name, tie, np.append(log_scales, tie.log_spread))
    log_density = log_scales * tie.n_equal * (tie.n_means - tie.times) + of_scales
    if np.isfinite(log_density[0]) and not log_density[1] - log_density[0] > _FLAT:
        return "improper"
    # Gain of giving the tied points a component of their own, over leaving them to a mixture that covers them.
    share = min(tie.times / n_points, 1 - 1 / n_points)
    density = tie.times * (np.log(share) - tie.n_equal * 0.5 * np.log(2 * np.pi) - tie.log_density)
    others = (n_points - tie.times) * np.log1p(-share)
    typical = of_spread + tie.n_equal * tie.log_spread
    gain = log_density.max() + density + others - typical - 0.5 * tie.n_equal * np.log(tie.times)
    return "spike" if gain > _SPIKE else ""


@in_float64
def _log_prior(site: Any, name: str, tie: Tie, log_scales: np.ndarray) -> Any:
    """Log prior density of log sigma, the largest over components; -inf where the distribution underflows.

    Where the components' scales have one joint distribution, the others are at the spread of the data.
    """
    power = 1 if name == "scales" else 2
    values = np.exp(log_scales * power)
    base = site.base_dist if isinstance(site, dist.Independent) else site
    if base.batch_shape:
        everywhere = np.broadcast_to(values[:, None, None], (len(values), *site.shape()))
        inside, density = _support_and_density(base, everywhere)
        inside, density = (part[..., tie.column] if part.ndim == 3 else part for part in (inside, density))
    else:
        everywhere = np.full((len(values), *site.shape()), np.exp(tie.log_spread * power))
        everywhere[:, 0, tie.column] = values
        inside, density = (part[:, None] for part in _support_and_density(base, everywhere))
    return np.where(inside & np.isfinite(density), density, -np.inf).max(-1) + np.log(values)


def _support_and_density(distribution: Any, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether values lie in the support, and their log densities, by one program."""
    return jax.device_get(_compiled_support_and_density(as_arrays({"prior": distribution}), values))


@jax.jit
def _compiled_support_and_density(sites: Sites, values: Array) -> tuple[Array, Array]:
    prior = sites["prior"]
    return prior.support(values), prior.log_prob(values)


def _onto_hyperplanes(sites: Sites, points: _Points) -> Iterator[str]:
    """A sentence where components with correlations can shrink onto a hyperplane of columns without a resolution."""
    site, free = sites["correlation_tril"], np.flatnonzero(~_floored(sites))
    scales = sites["scales"] if "scales" in sites else sites["variances"]
    # Held scales allow a component to shrink along few directions only.
    if len(free) < 2 or not all(isinstance(part, dist.Distribution) for part in (site, scales)):
        return
    whole = ~np.isnan(points.values).any(1)
    D, chosen = points.values.shape[1], points.values[np.ix_(whole, free)]
    if len(chosen) <= D + 1:
        return
    unit = chosen / chosen.std(0)
    plane = largest_hyperplane(unit, points.weights[whole])
    names = ", ".join(points.columns[d] for d in free[plane.normal != 0])
    n_points, n_means = plane.weight, 1
    if site.shape()[0] == 1:
        n_means = len(np.unique((unit @ plane.normal).round(9)))
        n_points = points.weights.sum() if n_means <= points.n_components else 0.0
    direction = np.zeros(D)
    direction[free] = plane.normal
    if np.count_nonzero(direction) > 1 and n_points >= n_means + D - 1 + 2 * _concentration(site, direction):
        yield (
            f"The prior of correlations is {family(site)}, and {n_points:g} points lie on "
            f"{'a hyperplane' if n_means == 1 else f'{n_means} parallel hyperplanes'} of {names}: a component that "
            "shrinks onto it has infinite mass, so that there is no posterior, and the draws only show the "
            "neighbourhood of a mode. Take the default scales, or give the prior resolution='data'."
        )


@in_float64
def _concentration(site: Any, direction: Float[np.ndarray, " D"]) -> float:
    """Concentration eta of the LKJ distribution that falls as fast where correlations become singular in a direction.

    LKJ's density goes as |R|^(eta - 1); the factor's density is that times a volume.
    """
    D, narrow = len(direction), np.array([1e-4, 1e-5])
    across = np.outer(direction, direction)
    roots = np.eye(D) - (1 - narrow[:, None, None]) * across
    factors = np.linalg.cholesky(roots @ roots)
    factors /= np.sqrt((factors**2).sum(-1, keepdims=True))
    log_diagonal = np.log(np.diagonal(factors, axis1=1, axis2=2))
    base = site.base_dist if isinstance(site, dist.ExpandedDistribution) else site
    shape = (len(factors), *(1 for _ in base.batch_shape), D, D)
    density = _support_and_density(base, factors.reshape(shape))[1].reshape(len(factors), -1).max(1)
    of_matrix = density - log_diagonal @ (D - 1 - np.arange(D))
    return float(1 + 0.5 * np.diff(of_matrix)[0] / np.diff(np.log(narrow))[0])


def _sentence(verdict: str, ties: list[Tie], prior: str, name: str) -> str:
    listed = ", ".join(_in_words(tie) for tie in ties)
    consequence = {
        "improper": "a component that shrinks onto such a tie has infinite mass, so that there is no posterior, and "
        "the draws only show the neighbourhood of a mode",
        "spike": "a spike on such a tie can outweigh every other explanation",
    }[verdict]
    return (
        f"The prior of {name} is {prior}, and {listed}: {consequence}. "
        "Take the default scales, or give the prior resolution='data', or scales that are never tiny."
    )


def _in_words(tie: Tie) -> str:
    if tie.n_means > 1:
        return f"{tie.where.rsplit(' the ', 1)[0]} there are {tie.n_means} values"
    return f"{tie.where} stands {tie.times:g} times"
