r"""The likelihood-ratio test for the number of components, with a null distribution by simulation.

Under K components the parameters of one more are on the boundary and not identified, so twice the log likelihood ratio
is not chi-squared. Its distribution is estimated from tables simulated from the fit of K components, each of which is
fitted with K and with K + 1 components.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from bayes_gmm.core.error_bars import drawn_errors
from bayes_gmm.core.interruption import until_interrupted
from bayes_gmm.core.validation import positive_integer
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.mle.best_fit import SEARCH_OPTIONS, SearchOptions, fit_problem
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.objective.problem import Problem

_STARTS = 20
"""Starts of each fit: a maximum that is missed for some tables and not for others biases the test."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LikelihoodRatioTest:
    """Test of K components against K + 1.

    Attributes
    ----------
    statistic
        2 [log L(K + 1) - log L(K)].
    simulated : (R,)
        Statistics of tables simulated from the fit of K components.
    null, alternative
        The fits of K and of K + 1 components.
    n_failed
        Number of simulated tables of which a fit collapsed; they are not among `simulated`.
    interrupted
        Whether it was stopped before all simulations were made.
    """

    statistic: float
    simulated: Float[np.ndarray, " R"]
    null: EMFit = field(repr=False)
    alternative: EMFit = field(repr=False)
    n_failed: int
    interrupted: bool

    @property
    def p_value(self) -> float:
        """(1 + number of simulated statistics not below the observed) / (1 + number of simulations)."""
        return float((1 + (self.simulated >= self.statistic).sum()) / (1 + len(self.simulated)))

    def __repr__(self) -> str:
        K, stopped = self.null.mixture.n_components, "; interrupted" if self.interrupted else ""
        failed = f"; {self.n_failed} simulations failed" if self.n_failed else ""
        return (
            f"{K} against {K + 1} components: statistic {self.statistic:.4f}, p {self.p_value:.4f} "
            f"by {len(self.simulated)} simulations{failed}{stopped}"
        )


def likelihood_ratio_test(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    n_replicates: int = 99,
    missing: str = "integrate",
    errors: Any = None,
    progress: bool = True,
    **options: Any,
) -> LikelihoodRatioTest:
    r"""Test K components against K + 1 by the parametric bootstrap.

    .. math:: T = 2 \Big[\max_{K+1} \log L - \max_K \log L\Big], \qquad
              p = \frac{1 + \#\{r : T^*_r \ge T\}}{1 + R}

    Fits of the data and of the simulated tables have the same number of starts; otherwise the test would be biased.

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points.
    n_components
        K, the smaller of the two numbers of components.
    covariance_type
        Structure of both fits, as in `fit_em`.
    n_replicates
        Number of simulations R; the smallest possible p is 1 / (R + 1).
    missing
        "refuse", or "drop" to leave out rows with missing cells.
    errors
        Known errors of the values, as in `fit_em`; those of simulated tables are drawn with the same covariances.
    progress
        Whether to show a bar on standard error. Ctrl-C keeps the simulations that are done.
    **options
        Handed to `fit_em`: prior, n_starts (20 by default), accelerate, tol, max_steps and seed.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.
    FitError
        When a fit of the data collapsed, or those of all simulations.

    References
    ----------
    McLachlan (1987), doi 10.2307/2347790.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> test = bg.likelihood_ratio_test(bg.datasets.load("faithful"), 1, n_replicates=19, progress=False)
    >>> round(test.statistic, 3), test.p_value
    (319.066, 0.05)
    """
    table, count = as_table(x, missing=missing, errors=errors), positive_integer("n_replicates", n_replicates)
    K = positive_integer("n_components", n_components)
    prior = options.pop("prior", None)
    _check_options(options)
    search = SearchOptions.of(**{"n_starts": _STARTS, **options})
    pair = [Problem.of(table, number, covariance_type=covariance_type, prior=prior) for number in (K, K + 1)]
    null, alternative = (fit_problem(problem, search).check() for problem in pair)
    bar = tqdm(range(count), desc="likelihood ratio", unit=" tables", disable=not progress, leave=False)
    made = until_interrupted(_simulated_statistic(null, pair, search, number) for number in bar)
    statistics = list(made)
    simulated = [statistic for statistic in statistics if statistic is not None]
    made.reraise_unless(simulated)
    if not simulated:
        raise FitError(f"The fits of all {count} simulations collapsed.", "one that did not", "Lower n_components.")
    return LikelihoodRatioTest(
        statistic=2 * (alternative.log_likelihood - null.log_likelihood),
        simulated=np.array(simulated),
        null=null,
        alternative=alternative,
        n_failed=len(statistics) - len(simulated),
        interrupted=made.interrupted,
    )


def _simulated_statistic(null: EMFit, pair: list[Problem], search: SearchOptions, number: int) -> float | None:
    """The statistic of one table simulated from the null fit, or None when a fit collapses."""
    # One stream of random numbers for each table, so that an interruption changes none.
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    data = null.table
    drawn = null.mixture.sample(data.n_points, seed=seed)[0]
    if data.errors is not None:
        drawn = drawn + drawn_errors(data.errors, np.random.default_rng(seed))
    table = Table(np.where(np.isnan(data.values), np.nan, drawn), data.columns, errors=data.errors)
    fits = [fit_problem(replace(problem, table=table), search, problem.n_components) for problem in pair]
    if any(fit.status.failed for fit in fits):
        return None
    return 2 * (fits[1].log_likelihood - fits[0].log_likelihood)


def _check_options(options: dict[str, Any]) -> None:
    unknown = sorted(set(options) - set(SEARCH_OPTIONS))
    if unknown:
        raise ArgumentError(
            f"likelihood_ratio_test cannot take {', '.join(unknown)}.",
            f"options among prior, {', '.join(SEARCH_OPTIONS)}",
            "What is known of single rows has no counterpart in simulated data.",
        )
