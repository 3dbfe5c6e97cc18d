"""The maximum-likelihood fit: EM from many starts at once, the best one kept."""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import kernel
from .arguments import component_count, point_weights, positive_integer, seed_integer
from .compiled import in_float64, padded_length
from .covariance import Structure, find_structure
from .em_fit import EMFit, EMStatus
from .errors import ArgumentError, FitWarning
from .kernel import Blocks, UnitData
from .linalg import invert_tril
from .mixture import Mixture
from .starts import random_starts, start_from
from .table import Table, as_table

SMALLEST_SCALE = 1e-4
"""Narrowest component that is believed, relative to the spread of the data."""

_POINTS_AT_ONCE = 2**14


def fit_em(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    n_starts: int = 20,
    start: Any = None,
    sample_weight: Any = None,
    tol: float | int = 1e-8,
    max_steps: int = 1000,
    seed: int = 0,
) -> EMFit:
    r"""Fit a mixture of Gaussians by maximum likelihood.

    .. math:: \hat\theta = \arg\max_\theta \sum_n w_n \log \sum_k \pi_k N(x_n \mid \mu_k, \Sigma_k)

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points. Column names are kept.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", or one of mclust's codes for volume, shape and orientation: equal (E),
        varying (V) or identity (I) over components (`covariance`).
    n_starts
        Random starts (k-means++), run together.
    start
        Labels (N,), responsibilities (N, K) or a `Mixture`, in place of random starts.
    sample_weight : (N,)
        A row of weight w counts as w equal rows.
    tol
        Stop when the log-likelihood's last gain and what it has still to gain, by Aitken's estimate, are below
        `tol` nats; the parameters are then within about sqrt(2 tol) standard errors of the maximum.
    max_steps
        Largest number of EM steps of each start.
    seed
        Seed of the random starts.

    Returns
    -------
    EMFit
        The best start, with the log-likelihoods of all. A `FitWarning` is given when it did not converge.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.

    References
    ----------
    Dempster, Laird and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x; stopping rule: Boehning et al. (1994),
    doi 10.1007/BF01720593.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2)
    >>> round(mle.log_likelihood, 3)
    -1130.264
    """
    table = as_table(x)
    K = component_count(n_components, table)
    weights = point_weights(sample_weight, table)
    structure = find_structure(covariance_type, table.n_features)
    unit = UnitData.of(table.values, weights, structure.invariance)
    starts = _starting_mixtures(start, unit, K, positive_integer("n_starts", n_starts), seed_integer(seed), structure)
    rule = _Rule(_tolerance(tol), positive_integer("max_steps", max_steps), SMALLEST_SCALE * _narrowest(unit))
    runs = _run_all(starts, unit, rule, structure)
    fit = _report_best(runs, table, weights, structure)
    if fit.status is not EMStatus.CONVERGED:
        warnings.warn(f"EM ended {fit.status.name}. {fit.status.advice}", FitWarning, stacklevel=2)
    return fit


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """State of one run of EM, and what is left of it at the end."""

    mixture: Mixture
    log_likelihood: Any
    gain: Any
    status: Any
    n_steps: Any
    path: Any


class _Rule(NamedTuple):
    """When a run stops; `smallest_scale` is in unit coordinates."""

    tol: Array | float
    max_steps: Array | int
    smallest_scale: Array | float


_RUNNING = -1


@in_float64
def _starting_mixtures(
    start: Any, unit: UnitData, n_components: int, n_starts: int, seed: int, structure: Structure
) -> Mixture:
    if start is None:
        return random_starts(seed, unit.points, unit.sample_weight, n_components, n_starts, structure)
    if not isinstance(start, Mixture):
        return start_from(start, unit.points, unit.sample_weight, n_components, structure)
    shape = (n_components, unit.points.shape[1])
    if np.shape(start.means) != shape:
        raise ArgumentError(
            f"The starting mixture has means of shape {np.shape(start.means)}.",
            f"{shape}, components by features",
            "Build it by Mixture.from_moments with one mean for each component.",
        )
    return jax.tree.map(lambda leaf: leaf[None], unit.scaling.to_unit(start))


@in_float64
def _run_all(starts: Mixture, unit: UnitData, rule: _Rule, structure: Structure) -> _Run:
    n_starts = len(starts.log_weights)
    at_once = int(np.clip(_POINTS_AT_ONCE // unit.blocks.weights.size, 1, n_starts))
    path_length = padded_length(int(rule.max_steps) + 1)
    runs = _run_batches(starts, unit.blocks, rule, structure, path_length, at_once)
    constant = unit.sample_weight.sum() * unit.scaling.log_volume
    return replace(
        runs,
        mixture=unit.scaling.to_data(runs.mixture),
        log_likelihood=runs.log_likelihood - constant,
        path=runs.path - constant,
    )


@partial(jax.jit, static_argnums=(3, 4, 5))
def _run_batches(
    starts: Mixture, data: Blocks, rule: _Rule, structure: Structure, path_length: int, at_once: int
) -> _Run:
    run = partial(_run, data=data, rule=rule, structure=structure, path_length=path_length)
    return jax.lax.map(run, starts, batch_size=at_once if at_once > 1 else None)


def _run(start: Mixture, data: Blocks, rule: _Rule, structure: Structure, path_length: int) -> _Run:
    """EM from one start until the rest of the way is below tol."""
    unknown = jnp.array(jnp.nan)
    begin = _Run(
        mixture=start,
        log_likelihood=unknown,
        gain=unknown,
        status=jnp.array(_RUNNING),
        n_steps=jnp.array(0),
        path=jnp.full(path_length, jnp.nan),
    )
    step = partial(_step, data=data, rule=rule, structure=structure)
    return jax.lax.while_loop(lambda run: run.status == _RUNNING, step, begin)


def _step(run: _Run, data: Blocks, rule: _Rule, structure: Structure) -> _Run:
    """Evaluate the current mixture; then stop there, or move to the next."""
    log_likelihood, statistics = kernel.expected_statistics(kernel.natural(run.mixture), data)
    gain = log_likelihood - run.log_likelihood
    proposal = _m_step(statistics, run.mixture.n_features, structure)
    status = _status(run, log_likelihood, gain, proposal, rule)
    move = status == _RUNNING
    return _Run(
        mixture=jax.tree.map(partial(jnp.where, move), proposal, run.mixture),
        log_likelihood=log_likelihood,
        gain=gain,
        status=status,
        n_steps=run.n_steps + move,
        path=run.path.at[run.n_steps].set(log_likelihood),
    )


def _m_step(statistics: Float[Array, "K F"], n_features: int, structure: Structure) -> Mixture:
    counts, means, covariances = kernel.moments(statistics, n_features)
    covariances = structure.estimate(counts, counts[:, None, None] * covariances)
    return Mixture(log_weights=jnp.log(counts / counts.sum()), means=means, scale_tril=jnp.linalg.cholesky(covariances))


def _status(run: _Run, log_likelihood: Array, gain: Array, proposal: Mixture, rule: _Rule) -> Array:
    rate = gain / run.gain
    remaining = gain * rate / (1 - rate)
    rounding = 4 * np.finfo(gain.dtype).eps * jnp.abs(log_likelihood)
    # Both: beside a saddle a large first gain and a small second one promise nothing more, and much is to come.
    small = (jnp.abs(gain) < rule.tol) & (jnp.abs(remaining) < rule.tol)
    converged = ((rate < 1) & small) | (jnp.abs(gain) <= rounding)
    # A start on single points has no Cholesky factor: that is a collapse, not a failure of the arithmetic.
    sound = jnp.isfinite(run.mixture.scale_tril).all()
    return jnp.select(
        [
            sound & ~jnp.isfinite(log_likelihood),
            ~(_smallest_scale(proposal) > rule.smallest_scale),
            converged,
            run.n_steps >= rule.max_steps,
        ],
        [EMStatus.NONFINITE, EMStatus.COLLAPSED, EMStatus.CONVERGED, EMStatus.MAX_STEPS],
        _RUNNING,
    )


def _smallest_scale(mixture: Mixture) -> Array:
    """Lower bound, tight to a factor sqrt(D), of all components' standard deviations in every direction."""
    return 1 / jnp.sqrt((invert_tril(mixture.scale_tril) ** 2).sum((-2, -1)).max())


def _narrowest(unit: UnitData) -> float:
    """Standard deviation of the data in their narrowest direction, in unit coordinates."""
    rows = unit.points * np.sqrt(unit.sample_weight / unit.sample_weight.sum())[:, None]
    return float(np.linalg.svd(np.linalg.qr(rows, mode="r"), compute_uv=False)[-1])


def _report_best(runs: _Run, table: Table, weights: np.ndarray, structure: Structure) -> EMFit:
    usable = np.isin(runs.status, (EMStatus.CONVERGED, EMStatus.MAX_STEPS))
    candidates = np.where(usable, runs.log_likelihood, -np.inf) if usable.any() else runs.log_likelihood
    best = int(np.argmax(np.nan_to_num(candidates, nan=-np.inf)))
    mixture = jax.tree.map(lambda leaf: leaf[best], runs.mixture)
    mixture = mixture.permute(np.argsort(mixture.means[:, 0], kind="stable"))
    log_likelihood = float(weights @ mixture.log_prob(table.values))
    return EMFit(
        mixture=mixture,
        log_likelihood=log_likelihood,
        status=EMStatus(int(runs.status[best])),
        n_steps=int(runs.n_steps[best]),
        path=runs.path[best, : runs.n_steps[best] + 1],
        start_log_likelihoods=runs.log_likelihood,
        start_statuses=runs.status,
        kernel_error=abs(float(runs.log_likelihood[best]) - log_likelihood),
        structure=structure,
        table=table,
        sample_weight=weights,
    )


def _tolerance(tol: Any) -> float:
    if isinstance(tol, bool) or not (isinstance(tol, Real) and 0 <= float(tol) < np.inf):
        raise ArgumentError(f"tol is {tol!r}.", "a finite number of nats, 0 or more", "The default is 1e-8.")
    return float(tol)
