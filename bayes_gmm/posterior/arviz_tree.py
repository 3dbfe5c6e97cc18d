"""The draws as an xarray DataTree in ArviZ's schema, which every function of ArviZ reads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, Int, Shaped

from bayes_gmm.core.error_bars import drawn_errors
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.numpy_density import log_joint
from bayes_gmm.mixture.parameter_names import PARAMETERS

_DIMENSIONS = {
    **{name: parameter.dimensions for name, parameter in PARAMETERS.items()},
    "degrees_of_freedom": ("component",),
    "mean_log_degrees_of_freedom": (),
    "noise_weight": (),
    "mixture_mean": ("feature",),
    "mixture_covariance": ("feature", "feature_bis"),
    "sorted_weights": ("rank",),
    "probe_log_density": ("probe",),
    "probe_together": ("probe_pair",),
}
"""Names of the axes of each variable after chain and draw."""

_PROBES = 4
"""Probe points: six pairs of points tell partitions apart, and each point and pair is one more quantity to diagnose."""

_PREDICTIVE_DRAWS = 50
"""Draws of each chain that get replicated data: more would make files larger and predictive checks hardly sharper."""

_PREDICTIVE_NUMBERS = 2 * 10**6
"""Largest size of the replicated data of large tables, 16 MB of float64."""


def posterior_tree(
    draws: Mixture,
    table: Table,
    *,
    sample_stats: dict[str, Shaped[np.ndarray, "chain draw"]],
    log_likelihood: Float[np.ndarray, "chain draw"],
    pointwise: Float[np.ndarray, "chain draw N"] | None,
    attributes: dict[str, Any],
) -> xr.DataTree:
    """Groups posterior, invariants, sample_stats, log_likelihood, posterior_predictive and observed_data.

    Parameters
    ----------
    draws
        Relabelled mixtures with axes (chain, draw).
    table
        The data.
    sample_stats
        What the sampler reports of each draw, (chain, draw) by name.
    log_likelihood : (chain, draw)
        Log-likelihood of each draw.
    pointwise : (chain, draw, N)
        Log-likelihood of each draw at each point, or None to leave the group out.
    attributes
        Stored with the posterior; "seed" also draws the replicated data.
    """
    groups = {
        "posterior": parameters_dataset(draws, table).assign_attrs(attributes),
        "invariants": _dataset(invariants(draws, log_likelihood, probes(table.values)), table, draws),
        "sample_stats": _dataset(sample_stats, table, draws),
        "posterior_predictive": _replicated(draws, table, attributes["seed"]),
        "observed_data": observed_data(table),
    }
    if pointwise is not None:
        groups["log_likelihood"] = _dataset({"x": pointwise}, table, draws, x=("point",))
    return xr.DataTree.from_dict(groups)


def one_chain(draws: Mixture, table: Table) -> xr.DataTree:
    """Draws (S,) as one chain, in a tree whose only group is the posterior."""
    chain = jax.tree.map(lambda leaf: np.asarray(leaf)[None], draws)
    return xr.DataTree.from_dict({"posterior": parameters_dataset(chain, table)})


def parameters_dataset(draws: Mixture, table: Table) -> xr.Dataset:
    """Parameters of draws (chain, draw), with component numbers and column names as coordinates."""
    return _dataset(parameters(draws, table.columns), table, draws)


def prior_groups(draws: Mixture, table: Table, *, seed: int) -> dict[str, xr.Dataset]:
    """Groups prior and prior_predictive, as one chain of mixtures (S,) drawn from the prior."""
    chain = jax.tree.map(lambda leaf: np.asarray(leaf)[None], draws)
    return {
        "prior": parameters_dataset(chain, table),
        "prior_predictive": _replicated(chain, table, seed),
    }


def log_prior_dataset(parts: dict[str, Float[np.ndarray, "chain draw"]]) -> xr.Dataset:
    """Log densities of parts of the prior at the draws, by the names of the parts."""
    n_chains, n_draws = next(iter(parts.values())).shape
    variables = {part: (("chain", "draw"), values) for part, values in parts.items()}
    return xr.Dataset(variables, {"chain": np.arange(n_chains), "draw": np.arange(n_draws)})


def parameters(mixture: Mixture, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reported parameters of a mixture or a batch of them: weights, means, scales and, for D > 1, correlations.

    With t distributions their degrees of freedom come next, with noise its weight last.
    """
    reported = {name: np.asarray(getattr(mixture, name)) for name in PARAMETERS if name != "correlations"}
    if len(columns) > 1:
        reported["correlations"] = lower_pairs(mixture.correlations)
    if mixture.degrees_of_freedom is not None:
        reported["degrees_of_freedom"] = np.asarray(mixture.degrees_of_freedom)
    if mixture.noise is not None:
        reported["noise_weight"] = np.asarray(mixture.noise_weight)
    return reported


def lower_pairs(matrices: Shaped[np.ndarray, "*batch D D"]) -> Shaped[np.ndarray, "*batch pair"]:
    """Elements below the diagonal of each matrix, in the order of `pair_names`."""
    rows, columns = np.tril_indices(matrices.shape[-1], -1)
    return matrices[..., rows, columns]


def pair_names(columns: Sequence[str]) -> list[str]:
    """Names of the pairs of features, such as "eruptions~waiting"."""
    return [f"{columns[j]}~{columns[i]}" for i in range(len(columns)) for j in range(i)]


def invariants(
    draws: Mixture, log_likelihood: Float[np.ndarray, "chain draw"], points: Float[np.ndarray, "probe D"]
) -> dict[str, Float[np.ndarray, "chain draw ..."]]:
    """Functions of the mixture that do not depend on the order of its components.

    Among them are the log density at each probe point, and for each pair of probe points the probability that both
    belong to the same component.
    """
    weights = draws.weights
    logs = np.where(weights > 0, draws.log_weights, 0.0)
    joint = log_joint(draws, points)
    log_density = np.logaddexp.reduce(joint, axis=-1)
    shares = np.exp(joint[..., : draws.n_components] - log_density[..., None])
    more = {} if draws.noise is None else {"noise_weight": draws.noise_weight}
    if (degrees := draws.degrees_of_freedom) is not None and np.isfinite(degrees).all():
        more["mean_log_degrees_of_freedom"] = (weights * np.log(degrees)).sum(-1)
    # Of t distributions the scatters take the part of covariances, which do not exist in every draw.
    by_scatters = replace(draws, degrees_of_freedom=None)
    return more | {
        "log_likelihood": log_likelihood,
        "mixture_mean": draws.mean,
        "mixture_covariance": by_scatters.covariance,
        "weight_entropy": -(weights * logs).sum(-1),
        "sorted_weights": np.sort(weights, -1),
        "probe_log_density": log_density,
        "probe_together": lower_pairs(shares @ shares.mT),
    }


def probes(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "probe D"]:
    """A few points far from each other in columns of unit sd, beginning with the point nearest to the mean.

    Each further one is the point whose distance to the nearest of those already chosen is largest. A cell that was not
    seen is at the mean of its column.
    """
    x = np.where(np.isnan(x), np.nanmean(x, 0), x)
    z = x / x.std(0)
    chosen = [int(((z - z.mean(0)) ** 2).sum(1).argmin())]
    while len(chosen) < min(_PROBES, len(x)):
        distances = ((z[:, None] - z[chosen][None]) ** 2).sum(-1).min(1)
        chosen.append(int(distances.argmax()))
    return x[chosen]


def _replicated(draws: Mixture, table: Table, seed: int) -> xr.Dataset:
    """New data with the errors of the observed ones, a table from each of some evenly spaced draws of every chain.

    Rows of noise have no errors of their own: its density is that of what was observed.
    """
    n_chains, n_draws = draws.log_weights.shape[:2]
    affordable = _PREDICTIVE_NUMBERS // (n_chains * table.n_points * table.n_features)
    chosen = np.linspace(0, n_draws - 1, max(1, min(_PREDICTIVE_DRAWS, n_draws, affordable))).round().astype(int)
    some = jax.tree.map(lambda leaf: np.asarray(leaf)[:, chosen], draws)
    rows, labels = some.sample(table.n_points, seed=seed)
    if table.errors is not None:
        rng = np.random.default_rng(seed)
        drawn = np.stack([drawn_errors(table.errors, rng) for _ in range(len(chosen) * n_chains)])
        rows = rows + np.where(labels[..., None] < 0, 0.0, drawn.reshape(rows.shape))
    data = _dataset({"x": rows}, table, some, x=("point", "feature"))
    return data.assign_coords(draw=chosen)


def _dataset(arrays: dict[str, np.ndarray], table: Table, draws: Mixture, **dimensions: tuple[str, ...]) -> xr.Dataset:
    """Arrays (chain, draw, ...) by name, with their further axes as in `_DIMENSIONS` or in the keywords."""
    known = _DIMENSIONS | dimensions
    variables = {name: (("chain", "draw", *known.get(name, ())), array) for name, array in arrays.items()}
    used = {dimension for dimensions, _ in variables.values() for dimension in dimensions}
    coordinates = _coordinates(table, draws)
    return xr.Dataset(variables, {name: coordinates[name] for name in coordinates if name in used})


def _coordinates(table: Table, draws: Mixture) -> dict[str, Int[np.ndarray, " length"] | list[str]]:
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
        "probe": np.arange(_PROBES),
        "probe_pair": pair_names([str(number) for number in range(_PROBES)]),
    }


def observed_data(table: Table) -> xr.Dataset:
    """The table as a dataset."""
    coordinates = {"point": np.arange(table.n_points), "feature": list(table.columns)}
    return xr.Dataset({"x": (("point", "feature"), table.values)}, coordinates)
