"""The draws as an xarray DataTree in ArviZ's schema, so that every ArviZ function reads them."""

from typing import Any

import numpy as np
import xarray as xr

from .mixture import Mixture
from .table import Table

_DIMENSIONS = {
    "weights": ("component",),
    "means": ("component", "feature"),
    "scales": ("component", "feature"),
    "correlations": ("component", "pair"),
    "mixture_mean": ("feature",),
    "mixture_covariance": ("feature", "feature_bis"),
    "sorted_weights": ("rank",),
    "x": ("point",),
}


def posterior_tree(
    draws: Mixture,
    table: Table,
    *,
    sample_stats: dict[str, np.ndarray],
    log_likelihood: np.ndarray,
    pointwise: np.ndarray | None,
    attributes: dict[str, Any],
) -> xr.DataTree:
    """Groups posterior, invariants, sample_stats, log_likelihood and observed_data.

    Parameters
    ----------
    draws
        Relabelled mixtures with axes (chain, draw).
    table
        The data.
    sample_stats
        What the sampler says of each draw, (chain, draw).
    log_likelihood
        Of each draw, (chain, draw).
    pointwise
        Log-likelihood of each draw and point, (chain, draw, point), or None to leave the group out.
    attributes
        Stored with the posterior.
    """
    groups = {
        "posterior": _dataset(parameters(draws, table.columns), table, draws).assign_attrs(attributes),
        "invariants": _dataset(invariants(draws, log_likelihood), table, draws),
        "sample_stats": _dataset(sample_stats, table, draws),
        "observed_data": _observed(table),
    }
    if pointwise is not None:
        groups["log_likelihood"] = _dataset({"x": pointwise}, table, draws)
    return xr.DataTree.from_dict(groups)


def parameters(mixture: Mixture, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """What is reported of a mixture or a batch of them: weights, means, scales and, for D > 1, correlations."""
    reported = {name: np.asarray(getattr(mixture, name)) for name in ("weights", "means", "scales")}
    if len(columns) > 1:
        reported["correlations"] = lower_pairs(mixture.correlations)
    return reported


def lower_pairs(matrices: np.ndarray) -> np.ndarray:
    """Elements below the diagonal of (..., D, D), in the order of `pair_names`."""
    rows, columns = np.tril_indices(matrices.shape[-1], -1)
    return matrices[..., rows, columns]


def pair_names(columns: tuple[str, ...]) -> list[str]:
    """Names of the pairs of features, such as "eruptions~waiting"."""
    return [f"{columns[j]}~{columns[i]}" for i, j in zip(*np.tril_indices(len(columns), -1), strict=True)]


def invariants(draws: Mixture, log_likelihood: np.ndarray) -> dict[str, np.ndarray]:
    """Functions of the mixture that do not depend on the order of its components."""
    weights = draws.weights
    logs = np.where(weights > 0, draws.log_weights, 0.0)
    return {
        "log_likelihood": log_likelihood,
        "mixture_mean": draws.mean,
        "mixture_covariance": draws.covariance,
        "weight_entropy": -(weights * logs).sum(-1),
        "sorted_weights": np.sort(weights, -1),
    }


def _dataset(arrays: dict[str, np.ndarray], table: Table, draws: Mixture) -> xr.Dataset:
    variables = {name: (("chain", "draw", *_DIMENSIONS.get(name, ())), array) for name, array in arrays.items()}
    used = {dimension for dimensions, _ in variables.values() for dimension in dimensions}
    coordinates = _coordinates(table, draws)
    return xr.Dataset(variables, {name: coordinates[name] for name in coordinates if name in used})


def _coordinates(table: Table, draws: Mixture) -> dict[str, Any]:
    n_chains, n_draws = draws.log_weights.shape[:2]
    components = np.arange(draws.n_components)
    return {
        "chain": np.arange(n_chains),
        "draw": np.arange(n_draws),
        "component": components,
        "rank": components,
        "feature": list(table.columns),
        "feature_bis": list(table.columns),
        "pair": pair_names(table.columns),
        "point": np.arange(table.n_points),
    }


def _observed(table: Table) -> xr.Dataset:
    coordinates = {"point": np.arange(table.n_points), "feature": list(table.columns)}
    return xr.Dataset({"x": (("point", "feature"), table.values)}, coordinates)
