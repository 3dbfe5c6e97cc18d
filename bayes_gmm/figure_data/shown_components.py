"""What a picture shows: the points with their responsibilities, both answers, and the curves drawn from them."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from bayes_gmm.clustering.assignment_moments import assignment_moments
from bayes_gmm.clustering.point_assignments import CERTAIN
from bayes_gmm.core.validation import open_probability, positive_integer, seed_integer
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.likelihood.pointwise import thinned
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior

MOST_POINTS = 20_000
"""Larger tables are shown by a random sample of this many rows."""

_DRAWS_FOR_COLORS = 400


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """What is shown: the points (M, D) with their responsibilities (M, K), and both answers.

    `draws` (S,) are some of the posterior's, or, if `averaged`, the one mixture of their mean moments.
    """

    table: Table
    points: np.ndarray
    shares: np.ndarray
    draws: Mixture | None
    mle: Mixture | None
    probability: float
    averaged: bool = False
    caution: str = ""

    @property
    def uncertain(self) -> np.ndarray:
        """Which points have no component with a probability of 0.9 or more, (M,)."""
        return np.asarray(self.shares.max(1) < CERTAIN)

    def label(self, feature: int) -> str:
        """Column name with its unit."""
        return label(self.table, feature)

    def view(self, feature: int) -> tuple[float, float]:
        """Limits that come from the data alone, so that a few wild draws do not shrink everything else."""
        low, high = self.table.values[:, feature].min(), self.table.values[:, feature].max()
        return float(low - 0.1 * (high - low)), float(high + 0.1 * (high - low))


def compose(posterior: Any, mle: Any, data: Any, n_draws: int | None, probability: float, seed: int) -> Scene:
    """Check what is to be shown and bring it together; a large table becomes a random sample of its rows.

    Without `n_draws` the mean of the draws is shown in their place.
    """
    _check(posterior, mle, data, probability)
    table = as_table(data) if data is not None else (posterior or mle).table
    fit = jax.tree.map(np.float64, mle.mixture if isinstance(mle, EMFit) else mle)
    draws = _shown_draws(posterior, n_draws) if posterior else None
    _check_mixtures(table, draws, fit)
    shown = _sample_of_rows(table, seed_integer(seed))
    return Scene(
        table=table,
        points=shown.values,
        shares=_mean_shares(posterior, shown) if posterior else fit.responsibilities(shown),
        draws=draws,
        mle=fit,
        probability=probability,
        averaged=n_draws is None,
        caution=caution(posterior) if posterior and n_draws is None else "",
    )


def label(table: Table, feature: int) -> str:
    """Column name with its unit."""
    return table.columns[feature] + (f" [{table.units[feature]}]" if table.units else "")


def caution(posterior: Posterior) -> str:
    """What a title adds where means over all draws mix explanations that are not to be mixed."""
    count = len(posterior.explanations)
    return f", mean of {count} different explanations" * (count > 1)


def mean_mixture(draws: Mixture) -> Mixture:
    """The mixture of the mean weights, means and covariances of draws with leading axes."""
    batch = tuple(range(draws.log_weights.ndim - 1))
    moments = (np.asarray(part).mean(batch) for part in (draws.weights, draws.means, draws.covariances))
    return Mixture.from_moments(*moments)


def contours(mixture: Mixture, probability: float) -> np.ndarray:
    """Closed contours (..., K, 73, 2) that hold `probability` of each component."""
    angles = np.linspace(0, 2 * np.pi, 73)
    circle = np.sqrt(-2 * np.log1p(-probability)) * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    return np.asarray(mixture.means[..., None, :] + circle @ mixture.scale_tril.mT)


def abscissae(scene: Scene, feature: int) -> np.ndarray:
    """An even grid, finer around each component, so that a narrow one keeps its shape."""
    grids = [np.linspace(*scene.view(feature), 400)]
    for mixture in filter(None, (scene.mle, scene.draws)):
        both = np.stack([mixture.means, mixture.scales])[..., feature].reshape(2, -1, mixture.n_components, 1)
        means, scales = np.median(both, axis=1)
        grids.append(np.ravel(means + scales * np.linspace(-5, 5, 81)))
    return np.unique(np.concatenate(grids))


def weighted_densities(mixture: Mixture, feature: int, x: np.ndarray) -> np.ndarray:
    """Densities of one feature, pi_k N(x | mu_k, sigma_k^2), (..., K, G)."""
    means, scales = mixture.means[..., [feature]], mixture.scales[..., [feature]]
    bells = np.exp(-0.5 * ((x - means) / scales) ** 2) / (np.sqrt(2 * np.pi) * scales)
    return np.asarray(mixture.weights[..., None] * bells)


def bins_of(values: np.ndarray) -> np.ndarray:
    """Edges that put as many distinct values into every bin, so that rounded data show no comb."""
    step = np.diff(np.unique(values)).min()
    width = np.ptp(values) / np.clip(1.6 * np.sqrt(len(values)), 16, 60)
    width = step * np.ceil(width / step)
    return np.arange(values.min() - step / 2, values.max() + 1.5 * width, width)


def sampled_rows(n_points: int, most: int, seed: int) -> np.ndarray:
    """All row numbers, or a random sample of `most`."""
    if n_points <= most:
        return np.arange(n_points)
    return np.random.default_rng(seed).choice(n_points, most, replace=False)


def draws_for_many_points(posterior: Posterior) -> Mixture:
    """As many of the draws as a picture of many points needs: they wait ten times less."""
    return jax.tree.map(lambda part: part[None], thinned(posterior.draws, _DRAWS_FOR_COLORS))


def _shown_draws(posterior: Posterior, n_draws: int | None) -> Mixture:
    if n_draws is not None:
        return thinned(posterior.draws, positive_integer("n_draws", n_draws))
    return jax.tree.map(lambda part: part[None], mean_mixture(posterior.draws))


def _sample_of_rows(table: Table, seed: int) -> Table:
    if table.n_points <= MOST_POINTS:
        return table
    return Table(table.values[sampled_rows(table.n_points, MOST_POINTS, seed)], table.columns)


def _mean_shares(posterior: Posterior, shown: Table) -> np.ndarray:
    if shown is posterior.table:
        return posterior.responsibilities()
    draws = draws_for_many_points(posterior) if shown.n_points == MOST_POINTS else posterior.draws
    return assignment_moments(draws, shown.values, posterior.problem.scaling)[0]


def _check(posterior: Any, mle: Any, data: Any, probability: float) -> None:
    call = "Give what the fits returned: plot_ellipses(posterior, mle=mle)."
    if posterior is None and mle is None:
        raise ArgumentError("Neither posterior nor mle is given.", "at least one of them", call)
    if not (isinstance(posterior, Posterior | None) and isinstance(mle, EMFit | Mixture | None)):
        found = f"posterior is of type {type(posterior).__name__} and mle of type {type(mle).__name__}."
        raise ArgumentError(found, "a Posterior, and an EMFit or a Mixture", call)
    if posterior is None and data is None and isinstance(mle, Mixture):
        raise ArgumentError("mle is a Mixture, which holds no data.", "the points", "Give data=, a table.")
    open_probability(probability, default=0.9)


def _check_mixtures(table: Table, draws: Mixture | None, mle: Mixture | None) -> None:
    if mle is not None and (mle.means.ndim != 2 or not np.isfinite(mle.scale_tril).all()):
        found = f"mle is {mle!r}, batched or not finite."
        remedy = "Draws go in as posterior; for a fit that failed, see its status."
        raise ArgumentError(found, "one mixture of finite numbers", remedy)
    for mixture in filter(None, (draws, mle)):
        if mixture.n_features != table.n_features:
            found = f"The data have {table.n_features} features and a mixture has {mixture.n_features}."
            remedy = "Select the columns that were fitted."
            raise ArgumentError(found, "fits and data of the same features", remedy)
