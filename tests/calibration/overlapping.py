"""Components that overlap: is the posterior sampled to the end, is it right, and what does it cover beside the fit?

Each data set is fitted by all defaults. Some are sampled again by NUTS alone, with short steps and ten times the draws:
another algorithm, which is no reference where it has not mixed itself.
"""

import time
import warnings
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from intervals import LEVEL, PARAMETERS, Cell, flat as parameters, kinds_of, wald
from planted import QUANTILES, agree
from posterior_intervals import draws_like

import bayes_gmm as bg
from bayes_gmm.posterior.explanations import scalars
from bayes_gmm.posterior.verdict import LARGEST_RHAT, SMALLEST_ESS

DATA_SETS, COMPARED = 60, 3
"""Data sets of a cell, and how many of them are compared with a long run."""
LONG = {"num_samples": 10_000, "target_accept_prob": 0.95, "seed": 1}
MOST_SECONDS = 600.0
"""Ample, so that no result depends on what else the machine does."""
DENSITY = "density"

CELLS = [Cell(K, D, apart, N) for D in (1, 2) for K in (2, 3) for apart in (2.0, 3.0) for N in (50, 200, 1000)]


class Overlapping(NamedTuple):
    """What was found of a cell's data sets (S,).

    Hits (S, Q) of the posterior's intervals for weights, means, scales and the log density, with the kind of each, and
    those of the fit's intervals, where there are any; how often sampling and components got each verdict; seconds of
    the clock and of the processor; of the data sets that were compared with a long run that mixed, whether the answer
    was right and whether it was called GOOD.
    """

    hits: np.ndarray
    kinds: np.ndarray
    of_fit: np.ndarray
    without: int
    sampling: Counter
    components: Counter
    seconds: np.ndarray
    processor_seconds: np.ndarray
    right: list[bool]
    called_good: list[bool]


def places(truth: bg.Mixture) -> np.ndarray:
    """Where the density is looked at: at the means, and between neighbours."""
    return np.concatenate([truth.means, (truth.means[1:] + truth.means[:-1]) / 2])


def fitted(x: np.ndarray, n_components: int, **options: Any) -> bg.Posterior:
    """The posterior by all defaults but the given ones."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.FitWarning)  # the verdict repeats it
        return bg.fit_nuts(x, n_components, progress=False, **options)


def within(draws: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Which central intervals of draws (S, Q) hold the truth (Q,)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return (low <= truth) & (truth <= high)


def invariants(posterior: bg.Posterior) -> np.ndarray:
    """All quantities that do not depend on labels, (Q, draws)."""
    values = np.concatenate(list(scalars(posterior.tree["invariants"].to_dataset())))
    return values.reshape(len(values), -1)


def long_run(x: np.ndarray, n_components: int, mle: bg.EMFit) -> np.ndarray | None:
    """Quantiles (Q, 3) of the invariants by NUTS alone; None where it has not mixed."""
    posterior = fitted(x, n_components, start=mle, **LONG)
    verdict = posterior.verdict
    if verdict.max_rhat["invariants"] > LARGEST_RHAT or verdict.min_ess["invariants"] < SMALLEST_ESS:
        return None
    return np.quantile(invariants(posterior), QUANTILES, axis=1).T


@cache
def overlapping(cell: Cell, n_data_sets: int, n_compared: int) -> Overlapping:
    """Fit all data sets of a cell, the first ones a second time and longer."""
    truth, K = cell.mixture(), cell.n_components
    points = places(truth)
    hits, of_fit, times, right, good = [], [], [], [], []
    sampling, components = Counter(), Counter()
    fitted(truth.sample(cell.n_points, seed=n_data_sets)[0], K, max_seconds=MOST_SECONDS)  # compiles
    for i in range(n_data_sets):
        x, _ = truth.sample(cell.n_points, seed=i)
        begun = time.perf_counter(), time.process_time()
        posterior = fitted(x, K, seed=i, max_seconds=MOST_SECONDS)
        times.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
        sampling[posterior.verdict.sampling.name] += 1
        components[posterior.verdict.components.name] += 1
        density = posterior.draws.log_prob(points).reshape(-1, len(points))
        of_density = within(density, truth.log_prob(points))
        hits.append(np.concatenate([within(parts(draws_like(truth, x, posterior)), parameters(truth)), of_density]))
        of_fit.append(wald(posterior.mle, truth, x, "information"))
        if i < n_compared and (long := long_run(x, K, posterior.mle)) is not None:
            right.append(agree(invariants(posterior), long))
            good.append(posterior.verdict.sampling.name == "GOOD")
    kinds = np.concatenate([kinds_of(truth), np.full(len(points), DENSITY)])
    with_errors = [row for row in of_fit if row is not None]
    return Overlapping(
        np.array(hits),
        kinds,
        np.array(with_errors).reshape(len(with_errors), -1),
        n_data_sets - len(with_errors),
        sampling,
        components,
        *np.array(times).T,
        right,
        good,
    )


def parts(draws: bg.Mixture) -> np.ndarray:
    """`parameters` of each of the draws (S,)."""
    weights = draws.weights[:, :1] if draws.n_components == 2 else draws.weights
    others = [np.asarray(getattr(draws, name)).reshape(len(weights), -1) for name in PARAMETERS[1:]]
    return np.concatenate([weights, *others], 1)
