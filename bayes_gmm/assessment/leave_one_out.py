"""Expected log predictive density of new points, estimated by leave-one-out cross-validation."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.likelihood.pointwise import log_densities, log_predictive_density, thinned
from bayes_gmm.mcmc.importance_weights import largest_good_k, leave_each_out
from bayes_gmm.mcmc.mixing import mean_ess
from bayes_gmm.posterior.explanations import scalars
from bayes_gmm.posterior.posterior import Posterior

MOST_POINTS = 20_000
"""In larger tables only a random sample of the points is left out in turn, to bound the time."""

_SUBSAMPLE = 2000
"""Size of that sample; the error that it adds is part of the standard error."""

_NUMBERS_AT_ONCE = 10**7
"""Largest number of draws times points whose log-likelihoods are in memory at once: 80 MB."""

_DRAWS_OF_APPROXIMATION = 100
"""Draws for the approximate density of every point; the sample corrects the bias that so few draws have."""


class LeaveOneOut(NamedTuple):
    """Expected log predictive density of as many new points as there are data, estimated by leaving one out.

    Attributes
    ----------
    elpd, standard_error
        The estimate and its standard error, with the error from leaving out only a sample of the points.
    effective_parameters
        Effective number of parameters: log pointwise predictive density of the data minus `elpd`.
    bad_points
        Number of points whose Pareto k is too large for their importance weights to be trusted.
    n_evaluated
        Number of points that were left out in turn.
    pointwise : (N,)
        Log predictive density of each point, approximate for points that were not left out.
    sample_weight : (N,)
        How often each counts in `elpd`.
    """

    elpd: float
    standard_error: float
    effective_parameters: float
    bad_points: int
    n_evaluated: int
    pointwise: Float[np.ndarray, " N"]
    sample_weight: Float[np.ndarray, " N"]


def leave_one_out(posterior: Posterior, *, seed: int = 0) -> LeaveOneOut:
    """Leave-one-out by Pareto-smoothed importance sampling (PSIS-LOO), with the labels summed out.

    Of a row of weight w, which counts as w rows, one is left out at a time. Of a table with more than 20,000 points a
    random sample is left out in turn. The log predictive densities of all points, computed from some of the draws, are
    then corrected by the mean difference of leave-one-out and predictive densities in the sample.

    Raises
    ------
    ValueError
        When the draws do not differ.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), doi 10.1007/s11222-016-9696-4; the sample: Magnusson, Andersen, Jonasson and
    Vehtari (2020), arXiv 2001.00980.
    """
    (x, errors), weights = posterior.table.observed(), posterior.problem.row_weights
    if len(x) <= MOST_POINTS:
        whole = _pointwise(posterior, np.arange(len(x)))
        return LeaveOneOut(
            elpd=float(weights @ whole.elpd),
            standard_error=error_of_sum(whole.elpd, weights),
            effective_parameters=float(weights @ whole.effective_parameters),
            bad_points=whole.n_bad,
            n_evaluated=len(x),
            pointwise=whole.elpd,
            sample_weight=weights,
        )
    rows = np.random.default_rng(seed).choice(len(x), _SUBSAMPLE, replace=False)
    sample = _pointwise(posterior, rows)
    approximate = log_predictive_density(
        thinned(posterior.draws, _DRAWS_OF_APPROXIMATION), x, posterior.problem.scaling, errors
    )
    differences = sample.elpd - approximate[rows]
    pointwise = approximate + differences.mean()
    pointwise[rows] = sample.elpd
    weighted = weights[rows] * differences
    sampling_variance = len(x) ** 2 * weighted.var(ddof=1) / len(rows) * (1 - len(rows) / len(x))
    scale = weights.sum() / weights[rows].sum()
    return LeaveOneOut(
        elpd=float(weights @ approximate + len(x) * weighted.mean()),
        standard_error=float(np.sqrt(scale * error_of_sum(sample.elpd, weights[rows]) ** 2 + sampling_variance)),
        effective_parameters=float(len(x) * (weights[rows] * sample.effective_parameters).mean()),
        bad_points=sample.n_bad,
        n_evaluated=len(rows),
        pointwise=pointwise,
        sample_weight=weights,
    )


def error_of_sum(values: Float[np.ndarray, "*batch N"], weights: Float[np.ndarray, " N"], ddof: int = 1) -> Any:
    """Standard error of the sum of values, each of which stands for so many independent ones as its weight says."""
    total = weights.sum()
    offsets = values - (values @ weights / total)[..., None]
    error = np.sqrt(offsets**2 @ weights * total / (total - ddof))
    return float(error) if error.ndim == 0 else error


class _Pointwise(NamedTuple):
    """Leave-one-out density and effective parameters of each point, and the number of points with a bad Pareto k."""

    elpd: Float[np.ndarray, " N"]
    effective_parameters: Float[np.ndarray, " N"]
    n_bad: int


def _pointwise(posterior: Posterior, rows: Int[np.ndarray, " N"]) -> _Pointwise:
    n_draws = int(np.prod(posterior.draws.log_weights.shape[:-1]))
    size, relative_ess = max(1, _NUMBERS_AT_ONCE // n_draws), _relative_ess(posterior)
    parts = [_loo(posterior, rows[start : start + size], relative_ess) for start in range(0, len(rows), size)]
    elpd, log_density = (np.concatenate([part[name] for part in parts]) for name in ("elpd", "log_density"))
    return _Pointwise(elpd, log_density - elpd, sum(part["bad"] for part in parts))


def _relative_ess(posterior: Posterior) -> float:
    """Mean effective sample size of the parameters by the number of draws; one of a single chain, as ArviZ has it."""
    quantities = np.concatenate(list(scalars(posterior.tree["posterior"].to_dataset())))
    return float(mean_ess(quantities).mean() / quantities[0].size) if quantities.shape[1] > 1 else 1.0


def _loo(posterior: Posterior, rows: Int[np.ndarray, " n"], relative_ess: float) -> dict[str, Any]:
    """Leave-one-out and full log densities of rows few enough to fit into memory, and how many have a bad k."""
    points, errors = posterior.table.observed(rows)
    log_likelihood = log_densities(posterior.draws, points, posterior.problem.scaling, errors).reshape(-1, len(points))
    left_out, n_draws = leave_each_out(log_likelihood, relative_ess), len(log_likelihood)
    return {
        "elpd": left_out.elpd,
        "log_density": np.logaddexp.reduce(log_likelihood, axis=0) - np.log(n_draws),
        "bad": int((left_out.pareto_k > largest_good_k(n_draws)).sum()),
    }
