r"""EM with a constant added to the variances and a limit on the mean gain: what scikit-learn's mixtures run.

After each M-step the covariances are \(\hat\Sigma_k + \epsilon I\), in data units. This is not the gradient of any
objective, so the log-likelihood may fall by a little; `fit_em` has a prior for that purpose. A run stops when the
log-likelihood per unit of weight, before each M-step, changes by less than `tol`.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from bayes_gmm.core.precision import in_float64
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.blocks import Blocks, blocks
from bayes_gmm.likelihood.centred_form import ExpectedMoments, expected_moments
from bayes_gmm.likelihood.moments import Moments, moments_of
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.objective.degeneracy import narrowest_scales

_KERNEL_IS_EXACT = 1e-3
"""Narrowest component, relative to the columns' spread, at which the kernel loses no more than six digits."""
_SHORTEST_PATH = 1024
_ROUNDING = 16 * float(np.finfo(np.float64).eps)


class RegularisedData(NamedTuple):
    """Data as the loop takes them; `ridge` (D,) is what is added to the variances, in unit coordinates."""

    blocks: Blocks
    sample_weight: np.ndarray
    scaling: Scaling
    ridge: np.ndarray
    structure: Structure

    @classmethod
    def of(cls, x: np.ndarray, sample_weight: np.ndarray, structure: Structure, reg_covar: float) -> "RegularisedData":
        """Cut points (N, D) into blocks; the columns may be constant or depend on each other."""
        scaling = column_scaling(x, sample_weight, structure)
        ridge = reg_covar / np.diag(scaling.factor) ** 2
        return cls(blocks(x, sample_weight, scaling), sample_weight, scaling, ridge, structure)


class RegularisedRun(NamedTuple):
    """End of a run: the mixture, the mean log-likelihood before each M-step, and whether that came to rest.

    Where a covariance became singular, the run is `collapsed`, and the mixture is the one before.
    """

    mixture: Mixture
    lower_bounds: np.ndarray
    converged: bool
    collapsed: bool


def column_scaling(x: np.ndarray, sample_weight: np.ndarray, structure: Structure) -> Scaling:
    """Map under which columns have mean zero and variance one, or together where the structure mixes them."""
    center = np.average(x, axis=0, weights=sample_weight)
    variances = np.average((x - center) ** 2, axis=0, weights=sample_weight)
    if structure.invariance == "scale":
        variances = np.full_like(variances, variances.mean())
    constant = variances <= (_ROUNDING * np.abs(center)) ** 2
    return Scaling(center=center, factor=np.diag(np.where(constant, 1.0, np.sqrt(variances))))


@in_float64
def start_from_responsibilities(
    x: np.ndarray, responsibilities: np.ndarray, data: RegularisedData
) -> tuple[Mixture, bool]:
    """Mixture, in data units, by an M-step from responsibilities (N, K), and whether it is defined.

    Rows that belong to no component widen a covariance that is tied, by their squares: scikit-learn subtracts the
    squares of the means from those of all rows.
    """
    shares = responsibilities * data.sample_weight[:, None]
    z, counts = data.scaling.points_to_unit(x), shares.sum(0)
    portions = shares / np.where(counts > 0, counts, 1.0)
    means = portions.T @ z
    around = ((portion[:, None], z - mean) for portion, mean in zip(portions.T, means, strict=True))
    covariances = np.stack([(portion * offsets).T @ offsets for portion, offsets in around])
    if data.structure.name == "EEE":
        scaled = x / np.diag(data.scaling.factor)
        unshared = data.sample_weight - shares.sum(1)
        covariances += (scaled.T * unshared) @ scaled / counts.sum()
    mixture, is_defined = _first_mixture(Moments(counts, means, covariances), data.ridge, data.structure)
    return data.scaling.to_data(jax.device_get(mixture)), bool(is_defined)


@in_float64
def run(start: Mixture, data: RegularisedData, tol: float, max_iter: int, lower_bound: float) -> RegularisedRun:
    """Steps from a start in data units until the mean log-likelihood comes to rest; `lower_bound` is the one before."""
    length = max(_SHORTEST_PATH, 1 << (max_iter - 1).bit_length())
    volume, unit_start = data.scaling.log_volume, data.scaling.to_unit(start)
    state = _run(
        unit_start, data.blocks, data.ridge, tol, max_iter, lower_bound + volume, data.structure, path_length=length
    )
    end = jax.device_get(state)
    mixture, lower_bounds = data.scaling.to_data(end.mixture), end.path[: end.n_iter] - volume
    return RegularisedRun(mixture, lower_bounds, bool(end.converged), bool(end.collapsed))


def story(run: RegularisedRun, number: int, details: bool, interval: int) -> Iterator[str]:
    """Lines that tell how a run went, every so many steps, as scikit-learn prints them."""
    details = details and len(run.lower_bounds) > 0
    changes = np.diff(run.lower_bounds, prepend=-np.inf)
    yield f"Initialization {number}"
    for i in range(interval, len(changes) + 1, interval):
        yield f"  Iteration {i}" + (f"\t ll change {changes[i - 1]:.5f}" if details else "")
    end = "collapsed" if run.collapsed else "converged" if run.converged else "did not converge"
    yield f"Initialization {end}." + (f"\t lower bound {run.lower_bounds[-1]:.5f}" if details else "")


class _State(NamedTuple):
    mixture: Mixture
    lower_bound: Any
    n_iter: Any
    converged: Any
    collapsed: Any
    path: Any


@partial(jax.jit, static_argnames=("structure", "path_length"))
def _run(
    start: Mixture,
    data: Blocks,
    ridge: Array,
    tol: Array,
    max_iter: Array,
    lower_bound: Array,
    structure: Structure,
    path_length: int,
) -> _State:
    total = jnp.asarray(data.weights).sum()

    def step(state: _State) -> _State:
        value, moments = _expected(state.mixture, data)
        better, is_defined = _maximise(moments, ridge, structure, state.mixture.covariances)
        goes_on, mean = is_defined & jnp.isfinite(value), value / total
        return _State(
            mixture=jax.tree.map(lambda new, old: jnp.where(goes_on, new, old), better, state.mixture),
            lower_bound=mean,
            n_iter=state.n_iter + 1,
            converged=goes_on & (jnp.abs(mean - state.lower_bound) < tol),
            collapsed=~goes_on,
            path=state.path.at[state.n_iter].set(mean),
        )

    begin = _State(start, lower_bound, jnp.array(0), jnp.array(False), jnp.array(False), jnp.full(path_length, jnp.nan))
    return lax.while_loop(lambda state: (state.n_iter < max_iter) & ~state.converged & ~state.collapsed, step, begin)


def _expected(mixture: Mixture, data: Blocks) -> ExpectedMoments:
    def fast() -> ExpectedMoments:
        value, statistics = linear_form.expected_statistics(linear_form.natural(mixture), data)
        return ExpectedMoments(value, moments_of(statistics, mixture.n_features).without_empty())

    wide = narrowest_scales(mixture).min() > _KERNEL_IS_EXACT
    return lax.cond(wide, fast, lambda: expected_moments(mixture, data))


def _maximise(moments: Moments, ridge: Array, structure: Structure, near: Array | None) -> tuple[Mixture, Array]:
    """M-step, and whether every covariance is positive definite beyond rounding."""
    counts, means, covariances = moments
    # As much as keeps a component without points from dividing by zero.
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
def _first_mixture(moments: Moments, ridge: Array, structure: Structure) -> tuple[Mixture, Array]:
    return _maximise(moments, ridge, structure, None)
