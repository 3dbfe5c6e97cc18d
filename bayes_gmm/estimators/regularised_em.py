r"""EM as in scikit-learn: a constant is added to the variances, and the mean gain of a step decides when to stop.

After each M-step the covariances are \(\hat\Sigma_k + \epsilon I\), in data units. Such a step does not maximise any
objective, so the log-likelihood may decrease slightly; the regularisation of `fit_em` is a prior, which has an
objective. A run stops when the log-likelihood per unit of weight, taken before each M-step, changes by less than `tol`.
"""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood import complete_rows, linear_form, missing_cells
from bayes_gmm.likelihood.blocks import Blocks
from bayes_gmm.likelihood.centred_form import ExpectedMoments, expected_moments, expected_variances
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.gaps import seen_moments
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.objective.degeneracy import narrowest_scales

_SMALLEST_SCALE_OF_LINEAR_FORM = 1e-3
"""Smallest standard deviation, relative to the columns' spread, at which the linear form loses at most six digits.

The linear form expands the square of a distance, which costs the square of this ratio. Where a component is narrower,
the slower centred form takes its place.
"""
_SHORTEST_HISTORY = 1024
"""Smallest length of the array of lower bounds: with any `max_iter` up to it, runs share one compiled program."""
_ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Relative size of numbers that may be rounding errors alone: a few units in the last place of a sum over features."""


class EMData(NamedTuple):
    """Data prepared for EM: rows in unit coordinates, weights, and a constant for the variances.

    Attributes
    ----------
    rows
        The likelihood of the rows in the coordinates of `scaling`.
    sample_weight : (N,)
        Weight of each row.
    scaling
        Map between data units and unit coordinates, column by column.
    ridge : (D,)
        What is added to the variances, in unit coordinates.
    structure
        Structure of the covariances.
    """

    rows: Likelihood
    sample_weight: Float[np.ndarray, " N"]
    scaling: Scaling
    ridge: Float[np.ndarray, " D"]
    structure: Structure

    @classmethod
    def of(
        cls,
        x: Float[np.ndarray, "N D"],
        sample_weight: Float[np.ndarray, " N"],
        structure: Structure,
        reg_covar: float,
    ) -> "EMData":
        """Prepare points (N, D), whose columns may be constant or linearly dependent."""
        scaling = column_scaling(x, sample_weight, structure)
        ridge = reg_covar / np.diag(scaling.factor) ** 2
        likelihood = missing_cells if np.isnan(x).any() else complete_rows
        rows = likelihood.prepare(x, sample_weight, scaling)
        return cls(rows, sample_weight, scaling, ridge, structure)

    @property
    def log_volume(self) -> float:
        """By how much the mean log-likelihood is higher in unit coordinates than in data units."""
        if isinstance(self.rows, Blocks):
            return float(self.scaling.log_volume)
        return float(self.rows.log_volume(self.scaling) / self.rows.total_weight)


class EMRun(NamedTuple):
    """Result of one run of EM.

    Attributes
    ----------
    mixture
        The last mixture, in data units; of a collapsed run, the mixture before the collapse.
    lower_bounds : (number of steps,)
        Mean log-likelihood before each M-step.
    converged
        Whether the mean log-likelihood changed by less than the tolerance in the last step.
    collapsed
        Whether a covariance became singular.
    """

    mixture: Mixture
    lower_bounds: Float[np.ndarray, " S"]
    converged: bool
    collapsed: bool


def column_scaling(
    x: Float[np.ndarray, "N D"], sample_weight: Float[np.ndarray, " N"], structure: Structure
) -> Scaling:
    """Map under which each column has mean zero and variance one.

    Where a covariance structure would not survive a change of scale of one column, all columns are divided by one
    number, and only their mean variance is one. A constant column is shifted but not scaled.
    """
    if np.isnan(x).any():
        center, covariance = seen_moments(x, sample_weight)
        variances = np.diag(covariance)
    else:
        center = np.average(x, axis=0, weights=sample_weight)
        variances = np.average((x - center) ** 2, axis=0, weights=sample_weight)
    if structure.invariance == "scale":
        variances = np.full_like(variances, variances.mean())
    constant = variances <= (_ROUNDING * np.abs(center)) ** 2
    return Scaling(center=center, factor=np.diag(np.where(constant, 1.0, np.sqrt(variances))))


@in_float64
def start_from_responsibilities(
    x: Float[np.ndarray, "N D"], responsibilities: Float[np.ndarray, "N K"], data: EMData
) -> tuple[Mixture, bool]:
    """Mixture, in data units, by an M-step from responsibilities, and whether its covariances are positive definite.

    The responsibilities of a row need not sum to one. As in scikit-learn, whose tied covariance is the difference of
    the squares of all rows and of the means, the missing part of a row adds its squares to a tied covariance.
    """
    weighted = responsibilities * data.sample_weight[:, None]
    z, counts = data.scaling.points_to_unit(x), weighted.sum(0)
    shares = weighted / np.where(counts > 0, counts, 1.0)
    means = shares.T @ z
    around = ((share[:, None], z - mean) for share, mean in zip(shares.T, means, strict=True))
    covariances = np.stack([(share * offsets).T @ offsets for share, offsets in around])
    if data.structure.name == "EEE":
        scaled = x / np.diag(data.scaling.factor)
        missing = data.sample_weight - weighted.sum(1)
        covariances += (scaled.T * missing) @ scaled / counts.sum()
    mixture, is_defined = _first_m_step(Moments(counts, means, covariances), data.ridge, data.structure)
    return data.scaling.to_data(jax.device_get(mixture)), bool(is_defined)


@in_float64
def run_em(start: Mixture, data: EMData, *, tol: float, max_iter: int, lower_bound: float) -> EMRun:
    """Run EM from a start in data units until the mean log-likelihood changes by less than `tol`.

    `lower_bound` is the mean log-likelihood of the start, with which the first step is compared; -inf for a new start.
    """
    volume = data.log_volume
    state = _iterate(
        data.scaling.to_unit(start),
        data.rows,
        ridge=data.ridge,
        tol=tol,
        max_iter=max_iter,
        lower_bound=lower_bound + volume,
        structure=data.structure,
        history_length=max(_SHORTEST_HISTORY, 1 << (max_iter - 1).bit_length()),
    )
    end = jax.device_get(state)
    mixture, lower_bounds = data.scaling.to_data(end.mixture), end.lower_bounds[: end.n_iter] - volume
    return EMRun(mixture, lower_bounds, bool(end.converged), bool(end.collapsed))


def progress_lines(run: EMRun, number: int, *, details: bool, interval: int) -> Iterator[str]:
    """Lines about every `interval`-th step of run `number`, as scikit-learn prints them."""
    details = details and len(run.lower_bounds) > 0
    changes = np.diff(run.lower_bounds, prepend=-np.inf)
    yield f"Initialization {number}"
    for i in range(interval, len(changes) + 1, interval):
        yield f"  Iteration {i}" + (f"\t ll change {changes[i - 1]:.5f}" if details else "")
    end = "collapsed" if run.collapsed else "converged" if run.converged else "did not converge"
    yield f"Initialization {end}." + (f"\t lower bound {run.lower_bounds[-1]:.5f}" if details else "")


class _State(NamedTuple):
    """State of the loop, in unit coordinates; `lower_bounds` is filled up to `n_iter`."""

    mixture: Mixture
    lower_bound: Float[Array, ""]
    n_iter: Int[Array, ""]
    converged: Bool[Array, ""]
    collapsed: Bool[Array, ""]
    lower_bounds: Float[Array, " S"]


@partial(jax.jit, static_argnames=("structure", "history_length"))
def _iterate(
    start: Mixture,
    data: Likelihood,
    *,
    ridge: Float[Array, " D"],
    tol: Float[Array, ""],
    max_iter: Int[Array, ""],
    lower_bound: Float[Array, ""],
    structure: Structure,
    history_length: int,
) -> _State:
    total = jnp.asarray(data.total_weight)

    def step(state: _State) -> _State:
        value, moments = _e_step(state.mixture, data, structure)
        better, is_defined = _m_step(moments, ridge, structure, state.mixture.covariances)
        goes_on, mean = is_defined & jnp.isfinite(value), value / total
        return _State(
            mixture=jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), better, state.mixture),
            lower_bound=mean,
            n_iter=state.n_iter + 1,
            converged=goes_on & (jnp.abs(mean - state.lower_bound) < tol),
            collapsed=~goes_on,
            lower_bounds=state.lower_bounds.at[state.n_iter].set(mean),
        )

    first = _State(
        mixture=start,
        lower_bound=lower_bound,
        n_iter=jnp.array(0),
        converged=jnp.array(False),
        collapsed=jnp.array(False),
        lower_bounds=jnp.full(history_length, jnp.nan),
    )
    return lax.while_loop(lambda state: (state.n_iter < max_iter) & ~state.converged & ~state.collapsed, step, first)


def _e_step(mixture: Mixture, data: Likelihood, structure: Structure) -> ExpectedMoments:
    """Log-likelihood, and expected moments of each component; in the centred form only of complete rows."""

    def by_linear_form() -> ExpectedMoments:
        value, statistics = data.expected_statistics(linear_form.natural(mixture))
        return ExpectedMoments(value, data.moments(statistics).without_empty())

    if not isinstance(data, Blocks):
        return by_linear_form()
    if structure.is_diagonal:
        return expected_variances(mixture, data)
    wide = narrowest_scales(mixture).min() > _SMALLEST_SCALE_OF_LINEAR_FORM
    return lax.cond(wide, by_linear_form, lambda: expected_moments(mixture, data))


def _m_step(
    moments: Moments, ridge: Float[Array, " D"], structure: Structure, near: Float[Array, "K D D"] | None
) -> tuple[Mixture, Bool[Array, ""]]:
    """Mixture of the regularised moments, and whether every covariance is positive definite beyond rounding.

    `near` are covariances where the iterations of some structures begin.
    """
    counts, means, covariances = moments
    # scikit-learn adds the same number to the counts, so that a component without points does not divide by zero.
    counts = counts + 10 * np.finfo(np.float64).eps
    estimated = structure.estimate(counts, counts[:, None, None] * covariances, near)
    regularised = estimated + jnp.diag(ridge)[None]
    variances = jnp.diagonal(regularised, axis1=1, axis2=2)
    factors = jnp.linalg.cholesky(regularised)
    pivots = jnp.diagonal(factors, axis1=1, axis2=2) ** 2
    sizes = jnp.maximum(jnp.abs(means), 1.0)
    is_defined = ((pivots > _ROUNDING * variances) & (variances > (_ROUNDING * sizes) ** 2)).all()
    mixture = Mixture(log_weights=jnp.log(counts / counts.sum()), means=means, scale_tril=factors)
    return mixture, is_defined


@partial(jax.jit, static_argnums=2)
def _first_m_step(moments: Moments, ridge: Float[Array, " D"], structure: Structure) -> tuple[Mixture, Bool[Array, ""]]:
    return _m_step(moments, ridge, structure, None)
