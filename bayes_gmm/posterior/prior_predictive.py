"""The prior predictive distribution: mixtures drawn from the prior, and data drawn from those mixtures."""

from typing import Any

import xarray as xr

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.core.validation import positive_integer, seed_integer
from bayes_gmm.posterior.arviz_tree import observed_data, prior_groups


def prior_predictive(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    missing: str = "integrate",
    num_draws: int = 1000,
    seed: int = 0,
) -> xr.DataTree:
    """Draw mixtures from the prior, and from at most 50 of them data of as many points as the table has.

    Parameters
    ----------
    x : (N, D)
        Table of numbers, from which the defaults take their scale.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", "EEI" or "EII".
    prior
        Prior in data units; parts that it leaves out are the defaults.
    missing
        What cells that were not seen (NaN) mean to the default prior: "integrate", "refuse" or "drop", as in
        `fit_nuts`.
    num_draws
        Mixtures to draw.
    seed
        Seed of everything random.

    Returns
    -------
    xarray.DataTree
        Groups prior, prior_predictive and observed_data in ArviZ's schema.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> tree = bg.prior_predictive(bg.datasets.load("faithful"), n_components=2, num_draws=100)
    >>> tree["prior"]["means"].shape
    (1, 100, 2, 2)
    """
    problem = PosteriorProblem.of(x, n_components, covariance_type=covariance_type, prior=prior, missing=missing)
    num_draws, seed = positive_integer("num_draws", num_draws), seed_integer(seed)
    groups = prior_groups(problem.sample_prior(num_draws, seed=seed), problem.table, seed=seed)
    return xr.DataTree.from_dict({**groups, "observed_data": observed_data(problem.table)})
