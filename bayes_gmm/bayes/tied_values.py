r"""Whether the prior of the scales survives tied data.

A component that sits on m points with the same value contributes sigma^(-m) to the likelihood, and the room for its
mean gives one sigma back, so that the posterior density of log sigma goes as

.. math:: p(\log \sigma) \, \sigma^{1 - m}, \qquad \sigma \to 0.

Where that does not fall to zero there is no posterior (half-normal, half-Cauchy, exponential, uniform scales); where it
does but peaks below the rounding of the data, that spike can outweigh everything (log-normal scales).

References
----------
For single points: Day (1969), doi 10.1093/biomet/56.3.463; priors that prevent it: Richardson and Green (1997),
doi 10.1111/1467-9868.00095.
"""

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayes_gmm.bayes.sites import Sites, family
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
    """The most frequent value of a column, or the most frequent row when all features share a scale."""

    where: str
    column: int
    times: int
    n_equal: int
    step: float
    log_density: float
    log_spread: float


def tie_warnings(sites: Sites, table: Table) -> list[str]:
    """Sentences on ties that make the posterior improper, or on which a spike can outweigh everything else."""
    name = "scales" if "scales" in sites else "variances"
    site = sites[name]
    if not isinstance(site, dist.Distribution) or site.shape()[0] == 1:
        return []  # held, or shared by all components: no component can shrink by itself
    judged = [(_judge(tie, site, name, table.n_points), tie) for tie in _ties(table, site.shape()[1])]
    found = {verdict: [tie for other, tie in judged if other == verdict] for verdict in ("improper", "spike")}
    return [_sentence(verdict, ties, family(site), name) for verdict, ties in found.items() if ties]


def _ties(table: Table, n_scales: int) -> Iterator[Tie]:
    if n_scales == table.n_features:
        for column, name in enumerate(table.columns):
            yield _tie_of(table.values[:, [column]], name, column)
    else:
        yield _tie_of(table.values, "a row", 0)


def _tie_of(values: np.ndarray, name: str, column: int) -> Tie:
    """Most frequent row of `values` (N, n_equal), and how densely its neighbourhood is populated."""
    rows, counts = np.unique(values, axis=0, return_counts=True)
    top = int(counts.argmax())
    spread = values.std(0)
    near = (np.abs(values - rows[top]) <= 0.25 * spread).all(1).mean()
    gaps = [np.diff(np.unique(part)) for part in values.T]
    gaps = [gap[gap > _SAME_VALUE * size] for gap, size in zip(gaps, spread, strict=True)]
    shown = ", ".join(f"{value:g}" for value in rows[top])
    where = f"in column {name!r} the value {shown}" if values.shape[1] == 1 else f"the row ({shown})"
    return Tie(
        where,
        column,
        int(counts[top]),
        values.shape[1],
        float(min(gap.min() for gap in gaps if gap.size)),
        float(np.log(near) - np.log(0.5 * spread).sum()),
        float(np.log(spread).mean()),
    )


def _judge(tie: Tie, site: Any, name: str, n_points: int) -> str:
    """Whether the density of log sigma is "improper", a "spike", or neither ("")."""
    if tie.times < 2:
        return ""
    log_scales = _DEPTH + np.log(tie.step)
    log_density = log_scales * tie.n_equal * (1 - tie.times) + _log_prior(site, name, tie.column, log_scales)
    if np.isfinite(log_density[0]) and not log_density[1] - log_density[0] > _FLAT:
        return "improper"
    # Gain of giving the tied points a component of their own, over leaving them to a mixture that covers them.
    share = tie.times / n_points
    density = tie.times * (np.log(share) - tie.n_equal * 0.5 * np.log(2 * np.pi) - tie.log_density)
    others = (n_points - tie.times) * np.log1p(-share)
    typical = _log_prior(site, name, tie.column, np.array([tie.log_spread]))[0] + tie.n_equal * tie.log_spread
    gain = log_density.max() + density + others - typical - 0.5 * tie.n_equal * np.log(tie.times)
    return "spike" if gain > _SPIKE else ""


@in_float64
def _log_prior(site: Any, name: str, column: int, log_scales: np.ndarray) -> Any:
    """Log prior density of log sigma, the largest over components; -inf where the distribution underflows."""
    values = np.exp(log_scales * (1 if name == "scales" else 2))[:, None, None]
    base = site.base_dist if isinstance(site, dist.Independent) else site
    everywhere = jnp.broadcast_to(values, (len(values), *site.shape()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPyro warns of values outside the support; they have no density
        inside, density = base.support(everywhere), base.log_prob(everywhere)
    inside, density = (part[..., column] if part.ndim == 3 else part for part in (inside, density))
    return jnp.where(inside & jnp.isfinite(density), density, -jnp.inf).max(-1) + np.log(values[:, 0, 0])


def _sentence(verdict: str, ties: list[Tie], prior: str, name: str) -> str:
    listed = ", ".join(f"{tie.where} stands {tie.times} times" for tie in ties)
    consequence = {
        "improper": "a component that shrinks onto such a tie has infinite mass, so that there is no posterior, and "
        "the draws only show the neighbourhood of a mode",
        "spike": "a spike on such a tie can outweigh every other explanation",
    }[verdict]
    return (
        f"The prior of {name} is {prior}, and {listed}: {consequence}. "
        "Take the default (inverse-gamma variances), or a prior that rules out tiny scales."
    )
