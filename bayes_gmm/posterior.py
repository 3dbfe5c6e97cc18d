"""The posterior: EM finds where to start, NUTS draws, the draws are relabelled, judged and kept."""

from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from . import nuts
from .arguments import component_count, positive_integer, seed_integer
from .compiled import in_float64, padded_length
from .diagnostics import Verdict, judge
from .em import fit_em
from .em_fit import EMFit
from .errors import ArgumentError, OutputError
from .kernel import blocks
from .laplace import Laplace, Target, laplace
from .mixture import Mixture, responsibilities
from .prior import Prior, as_arrays, assemble, constrain, disassemble, free, unconstrain
from .relabel import Relabelling, relabel
from .scaling import Scaling
from .table import Table, as_table
from .tree import posterior_tree

_LARGEST_POINTWISE = 5 * 10**7
_ADAPTATION_WARMUP = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Posterior:
    """Draws from the posterior of a Gaussian mixture, relabelled and judged.

    Attributes
    ----------
    draws
        `Mixture` with axes (chain, draw), in data units, under the labels of `mle`.
    relabelling
        The permutations (chain, draw, K) that were applied, and how sure each is.
    tree
        xarray DataTree in ArviZ's schema: posterior, invariants, sample_stats, log_likelihood, observed_data.
    verdict
        Whether the draws can be trusted, and why not.
    mle
        The EM fit whose labels the draws carry.
    prior
        The prior, every part filled in.
    table
        The data.
    interrupted
        Whether sampling was stopped before all draws were made.
    """

    draws: Mixture
    relabelling: Relabelling
    tree: xr.DataTree = field(repr=False)
    verdict: Verdict
    mle: EMFit
    prior: Prior
    table: Table = field(repr=False)
    interrupted: bool

    def responsibilities(self) -> np.ndarray:
        """Posterior mean of the soft assignments p(z_n = k | x_n), (N, K)."""
        return self._assignments[0]

    def responsibilities_sd(self) -> np.ndarray:
        """Posterior standard deviation of the soft assignments, (N, K)."""
        return self._assignments[1]

    @cached_property
    def _assignments(self) -> tuple[np.ndarray, np.ndarray]:
        return _assignment_moments(self.draws, self.table.values)

    def save(self, path: str | Path) -> None:
        """Write the tree to a netCDF file that plain ArviZ or xarray reads."""
        try:
            self.tree.to_netcdf(path, engine="h5netcdf")
        except OSError as error:
            raise OutputError(
                f"{path} cannot be written ({error.strerror or error}).",
                "a path in a folder that can be written to",
                "Choose another path.",
            ) from error

    def __repr__(self) -> str:
        chains, draws = self.draws.log_weights.shape[:2]
        head = f"Posterior: {self.draws.n_components} components, {chains} chains of {draws} draws"
        return f"{head}{' (interrupted)' if self.interrupted else ''}\n  {self.verdict}"


def fit_nuts(
    x: Any,
    n_components: int,
    *,
    prior: Prior | None = None,
    num_warmup: int = 200,
    num_samples: int = 1000,
    num_chains: int = 4,
    seed: int = 0,
    start: EMFit | None = None,
    progress: bool = True,
) -> Posterior:
    r"""Sample the posterior of a Gaussian mixture by NUTS, the labels summed out.

    .. math:: p(\theta \mid x) \propto p(\theta) \prod_n \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points. Column names become coordinates.
    n_components
        Number of Gaussians K.
    prior
        Prior in data units; the default takes its scale from the data (`Prior`).
    num_warmup, num_samples
        Transitions of each chain to tune the step size, and to keep.
    num_chains
        Chains, run side by side.
    seed
        Seed of everything random.
    start
        An EM fit of the same table, to start from and to take the labels from; fitted when left out.
    progress
        Whether to show a progress bar on standard error. Ctrl-C keeps the finished draws.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.

    References
    ----------
    Hoffman and Gelman (2014), JMLR 15, 1593-1623.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> posterior = bg.fit_nuts(bg.datasets.load("faithful"), n_components=2, progress=False)
    >>> posterior.verdict.status.name
    'GOOD'
    """
    table = as_table(x)
    K = component_count(n_components, table)
    size = positive_integer("num_samples", num_samples), positive_integer("num_chains", num_chains)
    num_warmup, seed = positive_integer("num_warmup", num_warmup), seed_integer(seed)
    mle = _same_problem(start, table, K) if start is not None else fit_em(table, K, seed=seed)
    complete = (prior or Prior()).for_data(table.values, K)
    target, around = _target_and_mode(table, mle.mixture, complete)
    plan, notes = _plan(around, num_warmup)
    chains, draws, log_likelihood = _draw(target, around, plan, *size, seed, progress)
    relabelling = relabel(draws, mle.mixture, table.values)
    draws = draws.permute(relabelling.permutations)
    tree = posterior_tree(
        draws,
        table,
        sample_stats=chains.statistics | _depth(chains.statistics["n_steps"], plan),
        log_likelihood=log_likelihood,
        pointwise=draws.log_prob(table.values) if _fits(draws, table) else None,
        attributes={"inference_library": "bayes_gmm", "seed": seed, "num_warmup": plan.num_warmup},
    )
    if chains.interrupted:
        notes += (f"Sampling was interrupted after {draws.log_weights.shape[1]} draws of each chain.",)
    return Posterior(
        draws=draws,
        relabelling=relabelling,
        tree=tree,
        verdict=judge(tree, relabelling, notes=notes),
        mle=mle,
        prior=complete,
        table=table,
        interrupted=chains.interrupted,
    )


def _same_problem(start: EMFit, table: Table, n_components: int) -> EMFit:
    if start.mixture.n_components == n_components and np.array_equal(start.table.values, table.values):
        return start
    raise ArgumentError(
        f"start has {start.mixture.n_components} components on a table of {start.table.n_points} points.",
        f"an EM fit of the same table ({table.n_points} points) with {n_components} components",
        "Leave start out, or fit it with fit_em(x, n_components).",
    )


@in_float64
def _target_and_mode(table: Table, mixture: Mixture, prior: Prior) -> tuple[Target, Laplace]:
    weights = np.ones(table.n_points)
    scaling = Scaling.whitening(table.values, weights)
    sites = as_arrays(prior.sites(mixture.n_components, mixture.n_features))
    target = Target(sites, blocks(table.values, weights, scaling), scaling)
    return target, laplace(_start(mixture, target), target)


@jax.jit
def _start(mixture: Mixture, target: Target) -> Array:
    return unconstrain(target.sites, disassemble(mixture, free(target.sites)))


def _plan(around: Laplace, num_warmup: int) -> tuple[nuts.Plan, tuple[str, ...]]:
    if around.trustworthy:
        return nuts.Plan(num_warmup, adapt_metric=False, dense=True), ()
    note = (
        "Newton's method found no proper mode near the EM fit, so the metric was adapted during a warm-up of "
        f"{max(num_warmup, _ADAPTATION_WARMUP)} transitions."
    )
    return nuts.Plan(max(num_warmup, _ADAPTATION_WARMUP), adapt_metric=True, dense=True), (note,)


@in_float64
def _draw(
    target: Target,
    around: Laplace,
    plan: nuts.Plan,
    num_samples: int,
    num_chains: int,
    seed: int,
    progress: bool,
) -> tuple[nuts.Chains, Mixture, Any]:
    chains = nuts.sample(
        target,
        around,
        plan,
        num_samples=num_samples,
        num_chains=num_chains,
        key=jax.random.key(seed),
        progress=progress,
    )
    draws, log_prior = _constrain_all(target.sites, chains.coordinates)
    return chains, draws, chains.statistics["lp"] - log_prior


@jax.jit
def _constrain_all(sites: Any, coordinates: Array) -> tuple[Mixture, Array]:
    def one(part: Array) -> tuple[Mixture, Array]:
        values, log_prior = constrain(sites, part)
        return assemble(values), log_prior

    return jax.vmap(jax.vmap(one))(coordinates)


def _depth(n_steps: np.ndarray, plan: nuts.Plan) -> dict[str, np.ndarray]:
    depth = np.log2(n_steps).astype(int) + 1
    return {"tree_depth": depth, "reached_max_tree_depth": depth >= plan.max_tree_depth}


def _fits(draws: Mixture, table: Table) -> bool:
    return int(np.prod(draws.log_weights.shape[:-1])) * table.n_points <= _LARGEST_POINTWISE


@in_float64
def _assignment_moments(draws: Mixture, x: np.ndarray) -> tuple[Any, Any]:
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), draws)
    padding = ((0, padded_length(len(x)) - len(x)), (0, 0))
    mean, sd = _moments(flat, np.pad(x, padding, mode="edge"))
    return mean[: len(x)], sd[: len(x)]


@jax.jit
def _moments(draws: Mixture, points: Array) -> tuple[Array, Array]:
    def add(sums: tuple[Array, Array], draw: Mixture) -> tuple[tuple[Array, Array], None]:
        shares = jax.vmap(partial(responsibilities, draw))(points)
        return (sums[0] + shares, sums[1] + shares**2), None

    n_draws = len(draws.log_weights)
    zero = jnp.zeros((len(points), draws.n_components))
    (total, squares), _ = jax.lax.scan(add, (zero, zero), draws)
    mean = total / n_draws
    return mean, jnp.sqrt(jnp.maximum(squares / n_draws - mean**2, 0.0))
