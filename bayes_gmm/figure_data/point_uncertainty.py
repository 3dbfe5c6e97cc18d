"""How uncertain the component of each point is, and how uncertain that uncertainty is."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.clustering.assignment_moments import AssignmentMoments, assignment_moments
from bayes_gmm.figure_data.shown_components import MOST_POINTS, draws_for_many_points, sampled_rows
from bayes_gmm.mixture.noise import noise_share
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior


class PointUncertainty(NamedTuple):
    r"""Uncertainty of the component of points, most uncertain first.

    .. math:: u_n = 1 - \max_k \bar r_{nk}

    Attributes
    ----------
    rows : (M,)
        Row numbers, counted from 0: all, or a random sample of a large table.
    uncertainty : (M,)
        One minus the posterior mean probability of the most probable component.
    sd : (M,) or None
        Posterior standard deviation of that probability; None for a point estimate.
    component, runner_up : (M,)
        The most probable component, and the second most probable; equal where there is only one. Noise is -1.
    """

    rows: Int[np.ndarray, " M"]
    uncertainty: Float[np.ndarray, " M"]
    sd: Float[np.ndarray, " M"] | None
    component: Int[np.ndarray, " M"]
    runner_up: Int[np.ndarray, " M"]

    @property
    def lower(self) -> Float[np.ndarray, " M"]:
        """Uncertainty minus one sd, at least 0; the uncertainty itself for a point estimate."""
        return self.uncertainty if self.sd is None else np.maximum(self.uncertainty - self.sd, 0.0)

    @property
    def upper(self) -> Float[np.ndarray, " M"]:
        """Uncertainty plus one sd, at most 1; the uncertainty itself for a point estimate."""
        return self.uncertainty if self.sd is None else np.minimum(self.uncertainty + self.sd, 1.0)

    def first(self, count: int) -> "PointUncertainty":
        """The `count` most uncertain points."""
        return self.at(np.arange(len(self.rows))[:count])

    def at(self, places: Int[np.ndarray, " P"]) -> "PointUncertainty":
        """The points at these places, in their order."""
        return PointUncertainty(
            rows=self.rows[places],
            uncertainty=self.uncertainty[places],
            sd=None if self.sd is None else self.sd[places],
            component=self.component[places],
            runner_up=self.runner_up[places],
        )


def point_uncertainty(fit: Posterior | EMFit, seed: int) -> PointUncertainty:
    """Uncertainty of the points that were fitted, or of a random sample of more than 20 000 of them."""
    rows = sampled_rows(fit.table.n_points, MOST_POINTS, seed)
    means, sds = _responsibility_moments(fit, rows)
    ranked = np.argsort(means, axis=1)
    component = ranked[:, -1]
    runner_up = ranked[:, -2] if ranked.shape[1] > 1 else component
    uncertainty = 1 - np.take_along_axis(means, component[:, None], 1)[:, 0]
    sd = None if sds is None else np.take_along_axis(sds, component[:, None], 1)[:, 0]
    mixture = fit.mixture if isinstance(fit, EMFit) else fit.draws
    component, runner_up = (np.where(number == mixture.n_components, -1, number) for number in (component, runner_up))
    in_table_order = PointUncertainty(rows, uncertainty, sd, component, runner_up)
    return in_table_order.at(np.argsort(-uncertainty, kind="stable"))


def _responsibility_moments(
    fit: Posterior | EMFit, rows: Int[np.ndarray, " M"]
) -> tuple[Float[np.ndarray, "M K"], Float[np.ndarray, "M K"] | None]:
    """Posterior means and standard deviations of the responsibilities; of an EM fit, its own and None.

    Where there is noise, it is the last column.
    """
    if isinstance(fit, EMFit):
        shares = fit.responsibilities()[rows]
        return (shares if fit.mixture.noise is None else np.column_stack([shares, noise_share(shares)])), None
    if len(rows) == fit.table.n_points:
        moments = AssignmentMoments(
            fit.responsibilities(), fit.responsibilities_sd(), fit.noise_probability(), fit.noise_probability_sd()
        )
    else:
        points, errors = fit.table.observed(rows)
        moments = assignment_moments(draws_for_many_points(fit), points, fit.problem.scaling, errors)
    if fit.draws.noise is None:
        return moments.mean, moments.sd
    return np.column_stack([moments.mean, moments.noise_mean]), np.column_stack([moments.sd, moments.noise_sd])
