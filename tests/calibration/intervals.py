"""How often intervals around the maximum-likelihood fit hold the parameters that the data came from."""

from functools import cache
from typing import NamedTuple

import numpy as np
from proportions import covered

import bayes_gmm as bg
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.posterior.relabelling import match

LEVEL = 0.9
DATA_SETS, RESAMPLED = 200, 60
"""Data sets of a cell, and how many of them are resampled."""
REPLICATES = 200
METHODS = ("information", "sandwich", "bootstrap")
PARAMETERS = ("weights", "means", "scales")


class Cell(NamedTuple):
    """A mixture of components with unit sds, the means of neighbours `apart` from each other, and a sample size."""

    n_components: int
    n_features: int
    apart: float
    n_points: int

    def mixture(self) -> bg.Mixture:
        """The truth; features are correlated by 0.3."""
        K, D = self.n_components, self.n_features
        means = np.zeros((K, D))
        means[:, 0] = self.apart * np.arange(K)
        covariances = np.tile(0.7 * np.eye(D) + 0.3, (K, 1, 1))
        return bg.Mixture.from_moments(np.arange(4, 4 + K) / np.arange(4, 4 + K).sum(), means, covariances)

    def __str__(self) -> str:
        return f"K={self.n_components}, D={self.n_features}, {self.apart:g} sd apart, N={self.n_points}"


CELLS = [
    *(Cell(K, 1, apart, N) for K in (2, 3) for apart in (2.0, 3.0, 5.0) for N in (50, 200, 1000)),
    *(Cell(2, 2, apart, 1000) for apart in (2.0, 5.0)),
]


class Hits(NamedTuple):
    """Which intervals hold the truth: (S, Q) for each method, the kind of each parameter (Q,), and fits without any."""

    of: dict[str, np.ndarray]
    kinds: np.ndarray
    without: dict[str, int]


def flat(values: dict[str, np.ndarray] | bg.Mixture) -> np.ndarray:
    """Weights, means and scales in a row; of two weights one, for the other is what is left."""
    of = values if isinstance(values, dict) else {name: getattr(values, name) for name in PARAMETERS}
    weights = of["weights"][:1] if len(of["weights"]) == 2 else of["weights"]
    return np.concatenate([weights, of["means"].ravel(), of["scales"].ravel()])


def kinds_of(truth: bg.Mixture) -> np.ndarray:
    """Kind of each entry of `flat`."""
    named = {name: np.full(np.shape(getattr(truth, name)), i) for i, name in enumerate(PARAMETERS)}
    return np.array(PARAMETERS)[flat(named)]


def wald(fit: bg.EMFit, truth: bg.Mixture, x: np.ndarray, method: str, shrinkage: float = 1.0) -> np.ndarray | None:
    """Which intervals of estimate and standard error hold the truth; None where the fit has no errors."""
    if fit.status is not EMStatus.CONVERGED:
        return None
    try:
        errors = fit.errors(method)
    except bg.FitError:
        return None
    order = match(fit.mixture, truth, x)
    errors = flat({name: values[order] for name, values in errors.items()})
    return covered(flat(fit.mixture.permute(order)), shrinkage * errors, flat(truth), LEVEL)


def percentile(fit: bg.EMFit, truth: bg.Mixture, x: np.ndarray, seed: int) -> np.ndarray | None:
    """The same of percentile intervals of the bootstrap."""
    if fit.status is not EMStatus.CONVERGED:
        return None
    try:
        intervals = bg.bootstrap(fit, n_replicates=REPLICATES, seed=seed).intervals(LEVEL)
    except bg.FitError:
        return None
    order = match(fit.mixture, truth, x)
    low, high = (flat({name: values[end][order] for name, values in intervals.items()}) for end in (0, 1))
    return (low <= flat(truth)) & (flat(truth) <= high)


@cache
def hits(cell: Cell, n_data_sets: int, n_resampled: int) -> Hits:
    """All intervals over all data sets of a cell.

    "halved" are those of half the error, "near" of EM from the truth; "doubted" and "trusted" those by the information
    where the fit has doubts, of itself or of its errors, and where it has none.
    """
    truth, found = cell.mixture(), {name: [] for name in (*METHODS, "halved", "near", "doubted", "trusted")}
    for i in range(n_data_sets):
        x, _ = truth.sample(cell.n_points, seed=i)
        fit, near = bg.fit_em(x, cell.n_components), bg.fit_em(x, cell.n_components, start=truth)
        by_information = wald(fit, truth, x, "information")
        found["information"].append(by_information)
        found["doubted" if fit.doubts or fit.error_doubts else "trusted"].append(by_information)
        found["sandwich"].append(wald(fit, truth, x, "sandwich"))
        found["halved"].append(wald(fit, truth, x, "information", shrinkage=0.5))
        found["near"].append(wald(near, truth, x, "information"))
        if i < n_resampled:
            found["bootstrap"].append(percentile(fit, truth, x, seed=i))
    return gathered(found, kinds_of(truth))


def gathered(found: dict[str, list], kinds: np.ndarray) -> Hits:
    """Fits without an interval are counted by themselves."""
    kept = {name: [row for row in rows if row is not None] for name, rows in found.items()}
    of = {name: np.array(rows).reshape(-1, len(kinds)) for name, rows in kept.items()}
    return Hits(of, kinds, {name: len(found[name]) - len(kept[name]) for name in found})
