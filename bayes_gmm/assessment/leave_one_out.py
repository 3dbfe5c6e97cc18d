"""How well the posterior predicts a point that it has not seen: leave-one-out by importance sampling."""

from typing import Any, NamedTuple

import arviz as az
import numpy as np
import xarray as xr

from bayes_gmm.likelihood.pointwise import log_predictive_density, thinned
from bayes_gmm.posterior.diagnostics import quietly
from bayes_gmm.posterior.posterior import Posterior

MOST_POINTS = 20_000
"""With more points than this some are left out in turn, the others estimated from them."""

_SUBSAMPLE = 2000
_NUMBERS_AT_ONCE = 10**7
_DRAWS_OF_APPROXIMATION = 100


class LeaveOneOut(NamedTuple):
    """Expected log predictive density of as many new points as there are data, estimated by leaving one out.

    `bad_points` is the number of points whose Pareto k is too large for their weights to be trusted. `n_evaluated` says
    how many points were left out in turn; `standard_error` holds the error of that choice, too. `pointwise` (N,) are
    the parts of the sum, of the points that were not left out by approximation.
    """

    elpd: float
    standard_error: float
    effective_parameters: float
    bad_points: int
    n_evaluated: int
    pointwise: np.ndarray


def leave_one_out(posterior: Posterior, *, seed: int = 0) -> LeaveOneOut:
    """PSIS-LOO of the marginal likelihood; for large tables of a random sample of the points.

    For a sample the log predictive density of every point, from some of the draws, is corrected by the sample's mean
    difference from the leave-one-out value.

    Raises
    ------
    ValueError
        ArviZ's answer to draws that do not differ.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), doi 10.1007/s11222-016-9696-4; the sample: Magnusson, Andersen, Jonasson and
    Vehtari (2020), arXiv 2001.00980.
    """
    x = posterior.table.values
    if len(x) <= MOST_POINTS:
        elpd, p, bad = _pointwise(posterior, x)
        return LeaveOneOut(
            float(elpd.sum()), float(np.sqrt(len(x) * elpd.var(ddof=1))), float(p.sum()), bad, len(x), elpd
        )
    rows = np.random.default_rng(seed).choice(len(x), _SUBSAMPLE, replace=False)
    elpd, p, bad = _pointwise(posterior, x[rows])
    approximate = log_predictive_density(
        thinned(posterior.draws, _DRAWS_OF_APPROXIMATION), x, posterior.problem.scaling
    )
    differences = elpd - approximate[rows]
    pointwise = approximate + differences.mean()
    pointwise[rows] = elpd
    sampling = len(x) ** 2 * differences.var(ddof=1) / len(rows) * (1 - len(rows) / len(x))
    return LeaveOneOut(
        float(approximate.sum() + len(x) * differences.mean()),
        float(np.sqrt(len(x) * elpd.var(ddof=1) + sampling)),
        float(len(x) * p.mean()),
        bad,
        len(rows),
        pointwise,
    )


def _pointwise(posterior: Posterior, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Leave-one-out density and effective parameters of each point, and the number with a bad Pareto k."""
    n_draws = int(np.prod(posterior.draws.log_weights.shape[:-1]))
    size = max(1, _NUMBERS_AT_ONCE // n_draws)
    parts = [_loo(posterior, x[start : start + size]) for start in range(0, len(x), size)]
    elpd, log_density = (np.concatenate([part[name] for part in parts]) for name in ("elpd", "log_density"))
    return elpd, log_density - elpd, sum(part["bad"] for part in parts)


def _loo(posterior: Posterior, x: np.ndarray) -> dict[str, Any]:
    log_likelihood = posterior.log_likelihoods(x)
    dataset = xr.Dataset({"x": (("chain", "draw", "point"), log_likelihood)})
    tree = xr.DataTree.from_dict({"posterior": posterior.tree["posterior"].to_dataset(), "log_likelihood": dataset})
    with quietly():  # ArviZ warns of bad points; they are counted and reported
        loo = az.loo(tree, pointwise=True)
    n_draws = log_likelihood.shape[0] * log_likelihood.shape[1]
    return {
        "elpd": np.asarray(loo.elpd_i),
        "log_density": np.logaddexp.reduce(log_likelihood, axis=(0, 1)) - np.log(n_draws),
        "bad": int((np.asarray(loo.pareto_k) > loo.good_k).sum()),
    }
