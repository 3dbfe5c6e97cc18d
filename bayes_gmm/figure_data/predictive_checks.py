"""New data from the posterior against the data: histograms feature by feature, and statistics of their shape."""

from typing import NamedTuple

import numpy as np

from bayes_gmm.figure_data.shown_components import bins_of
from bayes_gmm.posterior.posterior import Posterior


class Replications(NamedTuple):
    """One feature of the data and of its replications (R).

    Attributes
    ----------
    edges : (B + 1,)
        Edges of the bins.
    observed : (B,)
        Density of the data in each bin.
    replicated : (R, B)
        Density of each replication.
    p_values
        For each statistic the share of replications in which it is at least as large as in the data.
    """

    edges: np.ndarray
    observed: np.ndarray
    replicated: np.ndarray
    p_values: dict[str, float]


def replications(posterior: Posterior, feature: int) -> Replications:
    """Compare one feature of the data with the posterior predictive draws of the tree."""
    observed = posterior.table.values[:, feature]
    drawn = posterior.tree["posterior_predictive"]["x"].transpose("chain", "draw", "point", "feature").values
    replicated = drawn[..., feature].reshape(-1, len(observed))
    edges = bins_of(observed)
    here = shape_statistics(observed)
    there = [shape_statistics(values) for values in replicated]
    return Replications(
        edges,
        _histogram(observed, edges),
        np.stack([_histogram(values, edges) for values in replicated]),
        {name: float(np.mean([found[name] >= value for found in there])) for name, value in here.items()},
    )


def shape_statistics(values: np.ndarray) -> dict[str, float]:
    """What Gaussians that are too few get wrong: third and fourth standardised moments."""
    z = (values - values.mean()) / values.std()
    return {"skewness": float((z**3).mean()), "kurtosis": float((z**4).mean())}


def _histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(values, len(edges) - 1, (edges[0], edges[-1]))
    return counts / (len(values) * np.diff(edges))
