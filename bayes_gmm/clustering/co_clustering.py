r"""Probabilities that two points belong to the same component, which do not depend on labels.

.. math:: P(z_n = z_m \mid x) = \frac1S \sum_s \sum_k r^{(s)}_{nk} r^{(s)}_{mk}, \qquad n \ne m,

and one on the diagonal. Noise is no component: a point that belongs to it belongs together with no other.

References
----------
The posterior similarity matrix: Fritsch and Ickstadt (2009), doi 10.1214/09-BA414.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from bayes_gmm.core.precision import in_float64
from bayes_gmm.errors import ArgumentError
from bayes_gmm.likelihood.draws_at_points import at_points, shares_of
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

MOST_POINTS = 5000
"""The matrix of 5000 points takes 200 MB, and its size grows with the square of their number."""


@in_float64
def co_clustering(
    draws: Mixture,
    x: Float[np.ndarray, "N D"],
    scaling: Scaling,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> Float[np.ndarray, "N N"]:
    """Probability that two points come from the same component, averaged over draws with any leading axes.

    `errors` are covariances of the points' known errors.

    Raises
    ------
    ArgumentError
        When there are more than 5000 points.
    """
    if len(x) > MOST_POINTS:
        raise ArgumentError(
            f"A matrix of {len(x)} x {len(x)} probabilities is asked for.",
            f"at most {MOST_POINTS} points",
            "Take a random sample of the rows.",
        )
    here = at_points(draws, x, scaling, errors)

    def together_in(log_joint: Float[np.ndarray, "B _ N"]) -> Float[np.ndarray, "N N"]:
        shares = here.of_components(shares_of(log_joint)).reshape(-1, len(x))
        return shares.T @ shares

    together = here.mean_over_draws(together_in)
    np.fill_diagonal(together, 1.0)
    return together


def order_by_similarity(together: Float[np.ndarray, "N N"]) -> Int[np.ndarray, " N"]:
    """Order in which points that belong together are neighbours: the leaves of the tree of average linkage."""
    if len(together) < 3:
        return np.arange(len(together))
    distances = squareform(np.clip(1 - together, 0, 1), checks=False)
    return leaves_list(linkage(distances, "average", optimal_ordering=True))
