"""The maximum-likelihood fit: EM from many starts at once, the best one kept."""

import warnings
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from . import kernel
from .arguments import component_count, point_weights, positive_integer, seed_integer
from .compiled import in_float64, padded_length
from .errors import ArgumentError, FitError, FitWarning
from .information import standard_errors
from .kernel import Blocks
from .linalg import invert_tril
from .mixture import Mixture
from .scaling import Scaling
from .starts import random_starts, start_from
from .table import Table, as_table

SMALLEST_SCALE = 1e-4
"""Narrowest component that is believed, relative to the spread of the data."""

_POINTS_AT_ONCE = 2**17


class EMStatus(IntEnum):
    """How a run of EM ended; `advice` says what to do about it."""

    CONVERGED = 0
    MAX_STEPS = 1
    COLLAPSED = 2
    NONFINITE = 3

    @property
    def advice(self) -> str:
        """What it means and what to do."""
        return _ADVICE[self]


_ADVICE = {
    EMStatus.CONVERGED: "The log-likelihood has no more than tol left to gain here.",
    EMStatus.MAX_STEPS: "The log-likelihood was still rising: raise max_steps, or tol if you need less.",
    EMStatus.COLLAPSED: (
        "A component shrank onto a few points or a line, where the likelihood has no upper bound: "
        "use fewer components, look for repeated rows, or take the posterior, whose prior rules this out."
    ),
    EMStatus.NONFINITE: "The log-likelihood became NaN or infinite: look for extreme values in the data.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class EMFit:
    """Maximum-likelihood fit of a Gaussian mixture.

    Attributes
    ----------
    mixture
        The best mixture found, components ordered by the mean of the first feature.
    log_likelihood
        Log-likelihood at `mixture`, from the centred form.
    status
        How the best run ended.
    n_steps
        EM steps of the best run.
    path
        Log-likelihood before each step of the best run and after the last, (n_steps + 1,).
    start_log_likelihoods, start_statuses
        Where each start (R,) ended, and how.
    kernel_error
        Absolute difference between the fast and the centred log-likelihood at `mixture`.
    table
        The data.
    sample_weight
        Weight of each row (N,).
    """

    mixture: Mixture
    log_likelihood: float
    status: EMStatus
    n_steps: int
    path: np.ndarray
    start_log_likelihoods: np.ndarray
    start_statuses: np.ndarray
    kernel_error: float
    table: Table = field(repr=False)
    sample_weight: np.ndarray = field(repr=False)

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return self.mixture.n_parameters

    def aic(self) -> float:
        """Akaike's criterion, -2 log L + 2 p; lower is better (Akaike 1974, doi 10.1109/TAC.1974.1100705)."""
        return -2 * self.log_likelihood + 2 * self.n_parameters

    def bic(self) -> float:
        """Schwarz's criterion, -2 log L + p log N; lower is better (Schwarz 1978, doi 10.1214/aos/1176344136)."""
        return -2 * self.log_likelihood + self.n_parameters * float(np.log(self.sample_weight.sum()))

    def icl(self) -> float:
        """BIC plus twice the entropy of the labels (Biernacki, Celeux and Govaert 2000, doi 10.1109/34.865189)."""
        return self.bic() + 2 * float(self.sample_weight @ _entropy(self.responsibilities()))

    def responsibilities(self) -> np.ndarray:
        """Soft assignments of the fitted points, (N, K)."""
        return self.mixture.responsibilities(self.table.values)

    @cached_property
    def standard_errors(self) -> dict[str, np.ndarray]:
        """Standard errors of weights, means, scales, correlations and covariances (`information`)."""
        unit = _UnitData.of(self.table, self.sample_weight, self.mixture.n_components)
        return standard_errors(self.mixture, unit.blocks, unit.scaling)

    def check(self) -> "EMFit":
        """Return this fit, or raise `FitError` when it collapsed or is not finite."""
        if self.status in (EMStatus.COLLAPSED, EMStatus.NONFINITE):
            raise FitError(
                f"All {len(self.start_statuses)} starts of EM ended {self.status.name}.",
                "at least one start that reaches a maximum of the likelihood",
                self.status.advice,
            )
        return self

    def __repr__(self) -> str:
        return (
            f"EMFit: {self.mixture.n_components} components, {self.table.n_points} points, "
            f"{self.table.n_features} features\n"
            f"  log-likelihood {self.log_likelihood:.6f}, {self.status.name} after {self.n_steps} steps, "
            f"BIC {self.bic():.2f}\n  {_describe_starts(self)}"
        )


def fit_em(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    n_starts: int = 20,
    start: Any = None,
    sample_weight: Any = None,
    tol: float = 1e-8,
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
        "full": each component has a covariance matrix of its own.
    n_starts
        Random starts (k-means++), run together.
    start
        Labels (N,), responsibilities (N, K) or a `Mixture`, in place of random starts.
    sample_weight : (N,)
        A row of weight w counts as w equal rows.
    tol
        Stop when the log-likelihood still to be gained, by Aitken's estimate, is below `tol` nats; the
        parameters are then within about sqrt(2 tol) standard errors of the maximum.
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
    _check_options(covariance_type, tol)
    table = as_table(x)
    K = component_count(n_components, table)
    weights = point_weights(sample_weight, table)
    unit = _UnitData.of(table, weights, K)
    starts = _starting_mixtures(start, unit, K, positive_integer("n_starts", n_starts), seed_integer(seed))
    runs = _run_all(starts, unit, tol, positive_integer("max_steps", max_steps))
    fit = _report_best(runs, unit, table, weights)
    if fit.status is not EMStatus.CONVERGED:
        warnings.warn(f"EM ended {fit.status.name}. {fit.status.advice}", FitWarning, stacklevel=2)
    return fit


class _UnitData(NamedTuple):
    """The data in unit coordinates, as points and as the kernel's blocks."""

    points: np.ndarray
    weights: np.ndarray
    scaling: Scaling
    blocks: Blocks

    @classmethod
    def of(cls, table: Table, weights: np.ndarray, n_components: int) -> "_UnitData":
        scaling = Scaling.whitening(table.values, weights)
        points = scaling.points_to_unit(table.values)
        return cls(points, weights, scaling, kernel.blocks(points, weights, n_components))


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


_RUNNING = -1


@in_float64
def _starting_mixtures(start: Any, unit: _UnitData, n_components: int, n_starts: int, seed: int) -> Mixture:
    if start is None:
        return random_starts(seed, unit.points, unit.weights, n_components, n_starts)
    if not isinstance(start, Mixture):
        return start_from(start, unit.points, unit.weights, n_components)
    shape = (n_components, unit.points.shape[1])
    if np.shape(start.means) != shape:
        raise ArgumentError(
            f"The starting mixture has means of shape {np.shape(start.means)}.",
            f"{shape}, components by features",
            "Build it by Mixture.from_moments with one mean for each component.",
        )
    return jax.tree.map(lambda leaf: leaf[None], unit.scaling.to_unit(start))


@in_float64
def _run_all(starts: Mixture, unit: _UnitData, tol: float, max_steps: int) -> _Run:
    n_starts = len(starts.log_weights)
    at_once = int(np.clip(_POINTS_AT_ONCE // unit.blocks.weights.size, 1, n_starts))
    path_length = padded_length(max_steps + 1)
    runs = _run_batches(starts, unit.blocks, tol, max_steps, path_length, at_once)
    constant = unit.weights.sum() * unit.scaling.log_volume
    return replace(
        runs,
        mixture=unit.scaling.to_data(runs.mixture),
        log_likelihood=runs.log_likelihood - constant,
        path=runs.path - constant,
    )


@partial(jax.jit, static_argnums=(4, 5))
def _run_batches(
    starts: Mixture, data: Blocks, tol: float, max_steps: int, path_length: int, at_once: int
) -> _Run:
    run = partial(_run, data=data, tol=tol, max_steps=max_steps, path_length=path_length)
    return jax.lax.map(run, starts, batch_size=at_once)


def _run(start: Mixture, data: Blocks, tol: Array, max_steps: Array, path_length: int) -> _Run:
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
    step = partial(_step, data=data, tol=tol, max_steps=max_steps)
    return jax.lax.while_loop(lambda run: run.status == _RUNNING, step, begin)


def _step(run: _Run, data: Blocks, tol: Array, max_steps: Array) -> _Run:
    """Evaluate the current mixture; then stop there, or move to the next."""
    log_likelihood, statistics = kernel.expected_statistics(kernel.natural(run.mixture), data)
    gain = log_likelihood - run.log_likelihood
    proposal = _m_step(statistics, run.mixture.n_features)
    status = _status(run, log_likelihood, gain, proposal, tol, max_steps)
    move = status == _RUNNING
    return _Run(
        mixture=jax.tree.map(partial(jnp.where, move), proposal, run.mixture),
        log_likelihood=log_likelihood,
        gain=gain,
        status=status,
        n_steps=run.n_steps + move,
        path=run.path.at[run.n_steps].set(log_likelihood),
    )


def _m_step(statistics: Float[Array, "K F"], n_features: int) -> Mixture:
    counts, means, covariances = kernel.moments(statistics, n_features)
    return Mixture(
        log_weights=jnp.log(counts / counts.sum()), means=means, scale_tril=jnp.linalg.cholesky(covariances)
    )


def _status(
    run: _Run, log_likelihood: Array, gain: Array, proposal: Mixture, tol: Array, max_steps: Array
) -> Array:
    rate = gain / run.gain
    remaining = gain * rate / (1 - rate)
    rounding = 4 * jnp.finfo(gain.dtype).eps * jnp.abs(log_likelihood)
    converged = ((rate < 1) & (jnp.abs(remaining) < tol)) | (jnp.abs(gain) <= rounding)
    return jnp.select(
        [
            ~jnp.isfinite(log_likelihood),
            ~(_smallest_scale(proposal) > SMALLEST_SCALE),
            converged,
            run.n_steps >= max_steps,
        ],
        [EMStatus.NONFINITE, EMStatus.COLLAPSED, EMStatus.CONVERGED, EMStatus.MAX_STEPS],
        _RUNNING,
    )


def _smallest_scale(mixture: Mixture) -> Array:
    """Lower bound, tight to a factor sqrt(D), of all components' standard deviations in every direction."""
    return 1 / jnp.sqrt((invert_tril(mixture.scale_tril) ** 2).sum((-2, -1)).max())


def _report_best(runs: _Run, unit: _UnitData, table: Table, weights: np.ndarray) -> EMFit:
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
        table=table,
        sample_weight=weights,
    )


def _entropy(responsibilities: np.ndarray) -> np.ndarray:
    positive = np.where(responsibilities > 0, responsibilities, 1.0)
    return -(positive * np.log(positive)).sum(1)


def _describe_starts(fit: EMFit) -> str:
    values, total = fit.start_log_likelihoods, len(fit.start_log_likelihoods)
    at_best = int((values >= fit.log_likelihood - 1e-4).sum())
    failed = int((fit.start_statuses >= EMStatus.COLLAPSED).sum())
    return f"{at_best} of {total} starts reached it" + (f"; {failed} collapsed or failed" if failed else "")


def _check_options(covariance_type: str, tol: float) -> None:
    if covariance_type != "full":
        raise ArgumentError(
            f"covariance_type is {covariance_type!r}.", 'the covariance type "full"', 'Use covariance_type="full".'
        )
    if not (isinstance(tol, float | int) and tol >= 0):
        raise ArgumentError(f"tol is {tol!r}.", "a number of nats, 0 or more", "The default is 1e-8.")
