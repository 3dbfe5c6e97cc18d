"""How often intervals of the posterior hold parameters that are fixed, beside those of the maximum-likelihood fit.

Ranks over truths from a prior (`sbc`) cannot tell whether that prior is a good one. Here the truth stays as it is, the
data are drawn again and again, and the fits are those of all defaults.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
import scipy.stats
from proportions import ERROR, covered, mean_and_error

import bayes_gmm as bg
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.posterior.relabelling import match
from bayes_gmm.posterior.sampled import pivot_of
from bayes_gmm.posterior.verdict import VerdictStatus

LEVEL = 0.9
DATA_SETS, OF_REFERENCES = 200, 60
"""Data sets of a cell, and of the same cell under a prior that is there for comparison."""
KINDS = ("sds", "means", "weights", "correlations")
POSTERIOR, MLE = "posterior", "MLE"


class Cell(NamedTuple):
    """A mixture whose components differ in the first feature by place and sd; in the others sds are one."""

    name: str
    weights: tuple[float, ...]
    places: tuple[float, ...]
    sds: tuple[float, ...]
    n_features: int
    correlation: float
    n_points: int

    def mixture(self) -> bg.Mixture:
        """The truth."""
        K, D = len(self.weights), self.n_features
        means, sds = np.zeros((K, D)), np.ones((K, D))
        means[:, 0], sds[:, 0] = self.places, self.sds
        correlations = (1 - self.correlation) * np.eye(D) + self.correlation
        return bg.Mixture.from_moments(self.weights, means, correlations * sds[:, :, None] * sds[:, None])

    def __str__(self) -> str:
        return f"{self.name}, N={self.n_points}"


def separated(n_features: int, apart: float) -> Cell:
    """Two components of 100 points each."""
    name = f"K=2, D={n_features}, {apart:g} sd apart"
    return Cell(name, (0.5, 0.5), (0.0, apart), (1.0, 1.0), n_features, 0.3, 200)


DISTANCES = (5.0, 20.0, 50.0, 100.0, 1000.0)
SEPARATED = [separated(D, apart) for D in (1, 2, 5) for apart in DISTANCES if D == 1 or apart != 50]
THIRD = (1 / 3, 1 / 3, 1 / 3)
UNEQUAL = Cell("K=3, D=1, sds 1 : 10 : 100", THIRD, (0.0, 100.0, 1000.0), (1.0, 10.0, 100.0), 1, 0.0, 180)
CORRELATED = Cell("K=3, D=5, correlations 0.9, 6 sd apart", THIRD, (0.0, 6.0, 12.0), (1.0, 1.0, 1.0), 5, 0.9, 300)
SMALL = Cell("K=2, D=2, weight 0.02, 8 sd apart", (0.98, 0.02), (0.0, 8.0), (1.0, 1.0), 2, 0.0, 400)
ALONE = [Cell("K=1, D=3, correlations 0.5", (1.0,), (0.0,), (1.0,), 3, 0.5, N) for N in (60, 240)]


def former_default(x: np.ndarray, n_components: int) -> bg.Prior:
    """Variances whose scale follows the variance of all data: what was the default of version 0.1."""
    D, ones = x.shape[1], np.ones((n_components, 1))
    return bg.Prior(
        means=dist.Normal(x.mean(0) * ones, 2 * x.std(0) * ones),
        variances=dist.InverseGamma(2 * np.ones((n_components, D)), 0.5 * n_components ** (-2 / D) * x.var(0) * ones),
        correlations=dist.LKJCholesky(D, 2.0) if D > 1 else None,
    )


DEFAULT, UNIFORM, FLAT, FORMER = "default", "marginally uniform", "flat log scales", "scales of all data"
PRIORS: dict[str, Callable[[np.ndarray, int], bg.Prior | None]] = {
    DEFAULT: lambda x, K: None,
    UNIFORM: lambda x, K: bg.Prior(correlations="marginally uniform"),
    FLAT: lambda x, K: bg.Prior(scales=dist.LogNormal(0.0, 100.0)),
    FORMER: former_default,
}


class Found(NamedTuple):
    """Of each data set: hits (S, Q) of the posterior's intervals and, where there are any, of the fit's.

    Also the kind of each parameter (Q,), the distance (S, Q) of the posterior mean from the fit and from the truth in
    posterior sds, how often each verdict was given, and the number of fits without intervals.
    """

    hits: dict[str, np.ndarray]
    kinds: np.ndarray
    from_mle: np.ndarray
    from_truth: np.ndarray
    statuses: Counter
    without: int


def parameters(values: bg.Mixture | dict[str, np.ndarray]) -> np.ndarray:
    """Sds, means, weights and correlations in a row, (..., Q); of two weights one, for the other is what is left."""
    return np.concatenate(_parts(values), -1)


def kinds_of(mixture: bg.Mixture) -> np.ndarray:
    """Kind of each entry of `parameters`."""
    return np.repeat(KINDS, [part.shape[-1] for part in _parts(mixture)])


def _parts(values: bg.Mixture | dict[str, np.ndarray]) -> list[np.ndarray]:
    named = ("scales", "means", "weights", "correlations")
    of = values if isinstance(values, dict) else {name: getattr(values, name) for name in named}
    scales, means, weights, correlations = (np.asarray(of[name]) for name in named)
    K, D = means.shape[-2:]
    row, column = np.tril_indices(D, -1)
    below = correlations[..., row, column]
    return [flat(scales), flat(means), weights[..., : _n_free(K)], flat(below)]


def flat(values: np.ndarray) -> np.ndarray:
    """The last two axes as one."""
    return values.reshape(*values.shape[:-2], -1)


def _n_free(n_components: int) -> int:
    return n_components if n_components > 2 else n_components - 1


def sampled(cell: Cell, prior: str, seed: int) -> tuple[np.ndarray, bg.Posterior]:
    """A data set and its posterior by all defaults but the prior."""
    x, _ = cell.mixture().sample(cell.n_points, seed=seed)
    K = len(cell.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.FitWarning)  # the verdict repeats it
        return x, bg.fit_nuts(x, K, prior=PRIORS[prior](x, K), seed=seed, progress=False)


def draws_like(truth: bg.Mixture, x: np.ndarray, posterior: bg.Posterior) -> bg.Mixture:
    """Draws (S,) under the labels of the truth; they have those of the pivot, which tells which is which."""
    draws = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), posterior.draws)
    order = match(pivot_of(posterior.problem, posterior.mle, posterior.modes), truth, x)
    return draws.permute(np.broadcast_to(order, draws.log_weights.shape))


def wald(fit: bg.EMFit, truth: bg.Mixture, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Estimates, and which intervals by the information hold the truth; None where the fit has no errors."""
    if fit.status is not EMStatus.CONVERGED:
        return None
    try:
        errors = fit.errors("information")
    except bg.FitError:
        return None
    order = match(fit.mixture, truth, x)
    estimates = parameters(fit.mixture.permute(order))
    standard = parameters({name: values[order] for name, values in errors.items()})
    return estimates, covered(estimates, standard, parameters(truth), LEVEL)


@cache
def coverage(cell: Cell, prior: str, n_data_sets: int) -> Found:
    """Both kinds of intervals over all data sets of a cell."""
    truth, statuses = cell.mixture(), Counter()
    true, hits, from_mle, from_truth = parameters(truth), {POSTERIOR: [], MLE: []}, [], []
    for i in range(n_data_sets):
        x, posterior = sampled(cell, prior, seed=i)
        statuses[VerdictStatus(posterior.verdict.sampling).name] += 1
        draws = parameters(draws_like(truth, x, posterior))
        low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        hits[POSTERIOR].append((low <= true) & (true <= high))
        from_truth.append((draws.mean(0) - true) / draws.std(0))
        if (of_fit := wald(posterior.mle, truth, x)) is not None:
            hits[MLE].append(of_fit[1])
            from_mle.append((draws.mean(0) - of_fit[0]) / draws.std(0))
    rows = {name: np.array(found).reshape(-1, len(true)) for name, found in hits.items()}
    distances = (np.array(found).reshape(-1, len(true)) for found in (from_mle, from_truth))
    return Found(rows, kinds_of(truth), *distances, statuses, n_data_sets - len(rows[MLE]))


def by_kind(values: np.ndarray, kinds: np.ndarray) -> dict[str, tuple[float, float]]:
    """Mean and its error, over data sets, of each kind of parameter that there is."""
    return {kind: mean_and_error(values[:, kinds == kind]) for kind in KINDS if kind in kinds and len(values) > 1}


def as_expected(values: tuple[float, float], expected: float, n_tests: int = 1) -> bool:
    """Whether a mean with its error is told apart from what is expected, as one of so many tests."""
    mean, error = values
    return 2 * scipy.stats.norm.sf(abs(mean - expected) / error) >= ERROR / n_tests
