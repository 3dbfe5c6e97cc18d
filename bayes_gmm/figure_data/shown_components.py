"""Which points, posterior draws and maximum-likelihood fit a figure of components shows."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.clustering.assignment_moments import assignment_moments
from bayes_gmm.clustering.point_assignments import CERTAIN
from bayes_gmm.core.export import counted
from bayes_gmm.core.validation import open_probability, positive_integer, seed_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.rows import column_order
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.likelihood.pointwise import thinned
from bayes_gmm.likelihood.true_rows import responsibilities_with_errors
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import most_probable, noise_share
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior

MOST_POINTS = 20_000
"""A table of more rows is shown by a random sample of this size: more points cost time and ink, and show no more."""

_DRAWS_FOR_COLORS = 400
"""Draws averaged for the colours of many points: a tenth of the default 4000, and a tenth of the waiting time.

A probability has an sd of at most 0.5, so its mean over 400 independent draws has a standard error of at most 0.025.
"""

_MARGIN = 0.1
"""Share of the range of the data that is left free at each end of an axis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownComponents:
    """What a figure of components shows.

    Attributes
    ----------
    table
        All points.
    points : (M, D)
        The points that are drawn: all, or a random sample of a large table.
    responsibilities : (M, K)
        Their probabilities of the components: posterior means, or those of the maximum-likelihood fit.
    draws
        Posterior draws (S,), or, when `averaged`, one mixture (1,) of their mean moments; None without a posterior.
    mle
        Maximum-likelihood fit, if any.
    probability
        Mass of a component inside its ellipse.
    averaged
        Whether the mean of the draws is shown in place of the draws.
    explanations_note
        End of the title where that mean is taken over different explanations.
    """

    table: Table
    points: Float[np.ndarray, "M D"]
    responsibilities: Float[np.ndarray, "M K"]
    draws: Mixture | None
    mle: Mixture | None
    probability: float
    averaged: bool = False
    explanations_note: str = ""

    @property
    def n_components(self) -> int:
        """K, the number of components that colour the points."""
        return self.responsibilities.shape[1]

    @property
    def components(self) -> Int[np.ndarray, " M"]:
        """Most probable component of each point, -1 for noise."""
        return most_probable(self.responsibilities)

    @property
    def uncertain(self) -> Bool[np.ndarray, " M"]:
        """Whether the most probable component of a point, or noise, has a probability below 0.9."""
        largest = np.maximum(self.responsibilities.max(1), noise_share(self.responsibilities))
        return np.asarray(largest < CERTAIN)

    def column_label(self, feature: int) -> str:
        """Column name with its unit."""
        return column_label(self.table, feature)

    def limits(self, feature: int) -> tuple[float, float]:
        """Limits of an axis, from the data alone: a few wild draws would shrink everything else."""
        low, high = self.table.seen(feature).min(), self.table.seen(feature).max()
        margin = _MARGIN * (high - low)
        return float(low - margin), float(high + margin)


def shown_components(
    posterior: Posterior | None,
    mle: EMFit | Mixture | None,
    *,
    data: Any = None,
    n_draws: int | None = None,
    probability: float = 0.9,
    seed: int = 0,
) -> ShownComponents:
    """Check what a figure is to show, and bring it together.

    Parameters
    ----------
    posterior, mle
        At least one of them.
    data : (N, D)
        Points to show; by default those that were fitted. Of more than 20 000 a random sample is shown.
    n_draws
        Posterior draws to show, evenly spaced over all of them; None for the mean of all draws in their place.
    probability
        Mass of a component inside its ellipse.
    seed
        Seed of the random sample of points.

    Raises
    ------
    ArgumentError
        When neither fit is given, the fits and the data disagree, or another argument cannot be used.
    DataError
        When `data` is not a table of numbers.
    """
    _check_arguments(posterior, mle, data, probability)
    fitted: Any = mle if posterior is None else posterior
    table = fitted.table if data is None else _in_the_order_of(fitted, as_table(data, missing="integrate"))
    fit = jax.tree.map(np.float64, mle.mixture if isinstance(mle, EMFit) else mle)
    draws = None if posterior is None else _draws_to_show(posterior, n_draws)
    _check_mixtures(table, draws, fit)
    sample = _sample_of_rows(table, seed_integer(seed))
    responsibilities = _shares(fit, sample) if posterior is None else mean_responsibilities(posterior, sample)
    averaged = n_draws is None
    return ShownComponents(
        table=table,
        points=sample.values,
        responsibilities=responsibilities,
        draws=draws,
        mle=fit,
        probability=probability,
        averaged=averaged,
        explanations_note=explanations_note(posterior) if posterior is not None and averaged else "",
    )


def _shares(fit: Mixture, sample: Table) -> Float[np.ndarray, "M K"]:
    values, errors = sample.observed()
    return fit.responsibilities(values) if errors is None else responsibilities_with_errors(fit, values, errors)


def column_label(table: Table, feature: int) -> str:
    """Column name with its unit."""
    return table.columns[feature] + (f" [{table.units[feature]}]" if table.units else "")


def explanations_note(posterior: Posterior) -> str:
    """End of a title that warns of means over draws from different explanations of the data; empty for one."""
    count = len(posterior.explanations)
    return f", mean of {count} different explanations" * (count > 1)


def gaps_note(table: Table) -> str:
    """End of a title that says how many points lack cells, and so are not drawn where these are needed."""
    count = int(np.isnan(table.values).any(1).sum())
    return f", {counted(count, 'point')} with missing cells" * (count > 0)


def mean_mixture(draws: Mixture) -> Mixture:
    """The mixture of the mean weights, means and scatters of draws with leading axes, which share a box of noise."""
    batch = tuple(range(draws.log_weights.ndim - 1))
    moments = (np.asarray(part).mean(batch) for part in (draws.weights, draws.means, draws.scatters))
    weights, means, scatters = moments
    degrees = None if draws.degrees_of_freedom is None else np.asarray(draws.degrees_of_freedom).mean(batch)
    total = weights.sum() if draws.noise is not None else 1.0
    mean = replace(Mixture.from_moments(weights / total, means, scatters), degrees_of_freedom=degrees)
    if draws.noise is None:
        return mean
    box = jax.tree.map(lambda leaf: np.asarray(leaf)[(0,) * len(batch)], draws.noise)
    noise = box.with_log_weight(np.log(draws.noise_weight.mean()))
    return replace(mean, log_weights=mean.log_weights + np.log(total), noise=noise)


def mean_responsibilities(posterior: Posterior, sample: Table) -> Float[np.ndarray, "M K"]:
    """Posterior mean responsibilities of the fitted table, of a random sample of rows, or of other points."""
    if sample is posterior.table:
        return posterior.responsibilities()
    draws = draws_for_many_points(posterior) if sample.n_points == MOST_POINTS else posterior.draws
    points, errors = sample.observed()
    return assignment_moments(draws, points, posterior.problem.scaling, errors)[0]


def sampled_rows(n_points: int, most: int, seed: int) -> Int[np.ndarray, " M"]:
    """All row numbers, or `most` of them at random without replacement."""
    if n_points <= most:
        return np.arange(n_points)
    return np.random.default_rng(seed).choice(n_points, most, replace=False)


def draws_for_many_points(posterior: Posterior) -> Mixture:
    """At most 400 draws (1, S), evenly spaced: enough for the colours of many points."""
    return _with_chain_axis(thinned(posterior.draws, _DRAWS_FOR_COLORS))


def _draws_to_show(posterior: Posterior, n_draws: int | None) -> Mixture:
    if n_draws is not None:
        return thinned(posterior.draws, positive_integer("n_draws", n_draws))
    return _with_chain_axis(mean_mixture(posterior.draws))


def _with_chain_axis(mixture: Mixture) -> Mixture:
    return jax.tree.map(lambda part: part[None], mixture)


def _sample_of_rows(table: Table, seed: int) -> Table:
    if table.n_points <= MOST_POINTS:
        return table
    return table.rows(sampled_rows(table.n_points, MOST_POINTS, seed))


def _check_arguments(posterior: Any, mle: Any, data: Any, probability: float) -> None:
    call = "Give what the fits returned: plot_ellipses(posterior, mle=mle)."
    if posterior is None and mle is None:
        raise ArgumentError("Neither posterior nor mle is given.", "at least one of them", call)
    if not (isinstance(posterior, Posterior | None) and isinstance(mle, EMFit | Mixture | None)):
        found = f"posterior is of type {type(posterior).__name__} and mle of type {type(mle).__name__}."
        raise ArgumentError(found, "a Posterior, and an EMFit or a Mixture", call)
    if posterior is None and data is None and isinstance(mle, Mixture):
        raise ArgumentError("mle is a Mixture, which holds no data.", "the points", "Give data=, a table.")
    open_probability(probability, default=0.9)


def _in_the_order_of(fitted: Any, table: Table) -> Table:
    """The table with its columns in the order of a fit, where both have the same number of them, and names."""
    columns = fitted.columns if isinstance(fitted, Mixture) else fitted.table.columns
    if columns is None or len(columns) != table.n_features:
        return table
    return table.select([table.columns[i] for i in column_order(table.columns, columns, "the fit")])


def _check_mixtures(table: Table, draws: Mixture | None, mle: Mixture | None) -> None:
    if mle is not None and (mle.means.ndim != 2 or not np.isfinite(mle.scale_tril).all()):
        found = f"mle is {mle!r}, batched or not finite."
        remedy = "Draws go in as posterior; for a fit that failed, see its status."
        raise ArgumentError(found, "one mixture of finite numbers", remedy)
    for mixture in (draws, mle):
        if mixture is not None and mixture.n_features != table.n_features:
            found = f"The data have {table.n_features} features and a mixture has {mixture.n_features}."
            remedy = "Select the columns that were fitted."
            raise ArgumentError(found, "fits and data of the same features", remedy)
