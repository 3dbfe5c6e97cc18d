"""Mean and standard deviation over the draws of a posterior of the soft assignments of points."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood.draws_at_points import at_points, shares_of
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


class AssignmentMoments(NamedTuple):
    """Posterior mean and standard deviation of the responsibility of each component, and of noise, for each point."""

    mean: Float[np.ndarray, "N K"]
    sd: Float[np.ndarray, "N K"]
    noise_mean: Float[np.ndarray, " N"]
    noise_sd: Float[np.ndarray, " N"]


@in_float64
def assignment_moments(
    draws: Mixture,
    x: Float[np.ndarray, "N D"],
    scaling: Scaling,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> AssignmentMoments:
    """Mean and standard deviation of the responsibilities over all draws, which have any leading axes.

    `errors` are covariances of the points' known errors.
    """
    here, K = at_points(draws, x, scaling, errors), draws.n_components
    # The variance is that of differences from the first draw, which does not cancel where all draws agree.
    first = replace(here, natural=here.natural[:1]).of_each_draw(shares_of)[0]

    def sums_of(log_joint: Float[np.ndarray, "B _ N"]) -> Float[np.ndarray, "2 _ N"]:
        differences = shares_of(log_joint) - first
        return np.stack([differences.sum(0), (differences**2).sum(0)])

    mean, square = here.mean_over_draws(sums_of)
    sd = np.sqrt(np.maximum(square - mean**2, 0.0))
    mean += first
    return AssignmentMoments(mean[:K].T, sd[:K].T, mean[K:].sum(0), sd[K:].sum(0))
