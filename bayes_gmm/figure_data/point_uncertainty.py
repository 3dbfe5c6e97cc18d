"""How uncertain the component of each point is, and how uncertain that is."""

from typing import Any, NamedTuple

import numpy as np

from bayes_gmm.clustering.assignment_moments import assignment_moments
from bayes_gmm.figure_data.shown_components import MOST_POINTS, draws_for_many_points, sampled_rows
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior


class Doubt(NamedTuple):
    r"""Uncertainty of points, most uncertain first.

    Attributes
    ----------
    rows : (M,)
        Row numbers, counted from 0: all, or a random sample of a large table.
    uncertainty : (M,)
        One minus the posterior mean probability of the most probable component.
    sd : (M,) or None
        Posterior standard deviation of that probability; None for a point estimate.
    component, runner_up : (M,)
        The most probable component, and the next.
    """

    rows: np.ndarray
    uncertainty: np.ndarray
    sd: np.ndarray | None
    component: np.ndarray
    runner_up: np.ndarray

    @property
    def spread(self) -> np.ndarray:
        """The sd, zero for a point estimate."""
        return np.zeros(len(self.rows)) if self.sd is None else self.sd

    @property
    def reach(self) -> np.ndarray:
        """Uncertainty plus one sd, as far as it is a probability."""
        return np.minimum(self.uncertainty + self.spread, 1.0)

    def first(self, count: int) -> "Doubt":
        """The most uncertain ones alone."""
        sd = None if self.sd is None else self.sd[:count]
        return Doubt(self.rows[:count], self.uncertainty[:count], sd, self.component[:count], self.runner_up[:count])


def doubt_of(fit: Posterior | EMFit, seed: int) -> Doubt:
    """Uncertainty of the points that were fitted."""
    rows = sampled_rows(fit.table.n_points, MOST_POINTS, seed)
    shares, sds = _moments(fit, rows)
    ranked = np.argsort(shares, axis=1)
    component, runner_up = ranked[:, -1], ranked[:, -2] if shares.shape[1] > 1 else ranked[:, -1]
    uncertainty = 1 - np.take_along_axis(shares, component[:, None], 1)[:, 0]
    sd = None if sds is None else np.take_along_axis(sds, component[:, None], 1)[:, 0]
    order = np.argsort(-uncertainty, kind="stable")
    return Doubt(
        rows[order],
        uncertainty[order],
        None if sd is None else sd[order],
        component[order],
        runner_up[order],
    )


def _moments(fit: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(fit, EMFit):
        return fit.mixture.responsibilities(fit.table.values[rows]), None
    if len(rows) == fit.table.n_points:
        return fit.responsibilities(), fit.responsibilities_sd()
    return assignment_moments(draws_for_many_points(fit), fit.table.values[rows], fit.problem.scaling)
