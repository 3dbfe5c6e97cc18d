"""Posterior predictive checks: histograms and shape statistics of the data and of replicated data."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.figure_data.plot_coordinates import histogram_edges
from bayes_gmm.posterior.posterior import Posterior


class Replications(NamedTuple):
    r"""One feature of the data and of its R replications.

    Attributes
    ----------
    edges : (B + 1,)
        Edges of the bins.
    observed : (B,)
        Histogram density of the data.
    replicated : (R, B)
        Histogram density of each replication.
    p_values
        For each statistic T the share of replications with \(T(x^{rep}) \ge T(x)\).
    """

    edges: Float[np.ndarray, " edges"]
    observed: Float[np.ndarray, " B"]
    replicated: Float[np.ndarray, "R B"]
    p_values: dict[str, float]


def replications(posterior: Posterior, feature: int) -> Replications:
    """Compare the seen cells of one feature with the posterior predictive draws of the tree at the same rows.

    A row of the data and its replications have the same weight.
    """
    observed = posterior.table.seen(feature)
    drawn = posterior.tree["posterior_predictive"]["x"].transpose("chain", "draw", "point", "feature").values
    seen = ~np.isnan(posterior.table.values[:, feature])
    replicated = drawn[..., feature].reshape(-1, posterior.table.n_points)[:, seen]
    weights, edges = posterior.problem.row_weights[seen], histogram_edges(observed)
    of_replications = [shape_statistics(values, weights) for values in replicated]
    return Replications(
        edges,
        _histogram_density(observed, weights, edges),
        np.stack([_histogram_density(values, weights, edges) for values in replicated]),
        {
            name: float(np.mean([statistics[name] >= value for statistics in of_replications]))
            for name, value in shape_statistics(observed, weights).items()
        },
    )


def shape_statistics(values: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"]) -> dict[str, float]:
    """Skewness and kurtosis (the third and fourth standardised moments).

    A mixture reproduces mean and variance with almost any number of components; its shape is wrong with too few.
    """
    centred = values - np.average(values, weights=weights)
    z = centred / np.sqrt(np.average(centred**2, weights=weights))
    return {name: float(np.average(z**power, weights=weights)) for name, power in (("skewness", 3), ("kurtosis", 4))}


def _histogram_density(
    values: Float[np.ndarray, " N"], weights: Float[np.ndarray, " N"], edges: Float[np.ndarray, " edges"]
) -> Float[np.ndarray, " B"]:
    """Density (B,) of all values in each bin; values outside the edges count in the total alone."""
    counts, _ = np.histogram(values, len(edges) - 1, (edges[0], edges[-1]), weights=weights)
    return np.asarray(counts / (weights.sum() * np.diff(edges)))
