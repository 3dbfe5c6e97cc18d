"""Maximum likelihood by gradient ascent, for comparison with EM, whose likelihood it maximises by L-BFGS or Adam."""

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import number_of_steps, one_of, positive_integer, real_number, seed_integer
from bayes_gmm.errors import ArgumentError, FitError, FitWarning
from bayes_gmm.io.rows import refuse_errors
from bayes_gmm.io.table import Table
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.unconstrained import SUPPORTED, from_unconstrained, to_unconstrained
from bayes_gmm.mle.gradient_ascent import Ascent, AscentRule, Sampling, Shape, ascend_adam, ascend_lbfgs
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.degeneracy import degenerate_components
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.initialisation import starting_mixtures

_N_STARTS = 20
"""Random starts whose likelihoods are compared; only the likeliest goes on."""

METHODS = ("lbfgs", "adam")


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientFit:
    """Gaussian mixture found by gradient ascent of the likelihood.

    Attributes
    ----------
    mixture
        Mixture at the end of the ascent, in data units; components ordered by the mean of the first feature.
    log_likelihood
        Log-likelihood at `mixture`, from the centred form.
    status
        How the ascent ended. Adam has no test of convergence: it ends with MAX_STEPS.
    n_steps
        Steps taken.
    path
        Log-likelihood at the start, and then after each step of L-BFGS or each pass of Adam.
    passes
        Passes over the data up to each entry of the path, with every trial of a line search counted as one; for Adam
        without those that only the path needs.
    remaining
        What the quadratic model of L-BFGS still promised to gain at the end, in nats; NaN for Adam.
    method
        "lbfgs" or "adam".
    structure
        Structure of the covariances (`covariance_structures`).
    table
        The data.
    sample_weight
        Weight of each row (N,).
    """

    mixture: Mixture
    log_likelihood: float
    status: EMStatus
    n_steps: int
    path: Float[np.ndarray, " reports"]
    passes: Float[np.ndarray, " reports"]
    remaining: float
    method: str
    structure: Structure = field(repr=False)
    table: Table = field(repr=False)
    sample_weight: Float[np.ndarray, " N"] = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixture", self.mixture.with_columns(self.table.columns))

    def check(self) -> "GradientFit":
        """Return this fit, or raise `FitError` when it collapsed or is not finite."""
        if self.status.failed:
            found = f"The climb ended {self.status.name} after {self.n_steps} steps."
            raise FitError(" ".join((found, *self.degeneracies)), "a maximum of the likelihood", self.status.advice)
        return self

    @cached_property
    def degeneracies(self) -> tuple[str, ...]:
        """Where a failed fit ended: the columns, values or rows that leave a component without a covariance."""
        return degenerate_components(self.mixture, self.table.values, self.table.columns) if self.status.failed else ()

    def __repr__(self) -> str:
        return (
            f"GradientFit: {self.mixture.n_components} components, {self.table.n_points} points, "
            f"{self.table.n_features} features\n"
            f"  log-likelihood {self.log_likelihood:.6f}, {self.status.name} after {self.n_steps} steps of "
            f"{self.method}, {self.passes[-1]:.0f} passes over the data"
        )


def fit_gradient(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    method: str = "lbfgs",
    start: Any = None,
    sample_weight: Any = None,
    missing: str = "integrate",
    batch_size: int = 256,
    learning_rate: float | int = 0.02,
    max_steps: int = 2000,
    tol: float | int = 1e-8,
    seed: int = 0,
) -> GradientFit:
    r"""Fit a mixture of Gaussians by gradient ascent of the likelihood that `fit_em` maximises.

    .. math:: \nabla_\theta \ell = \sum_n w_n \sum_k r_{nk} \nabla_\theta \log \pi_k N(x_n \mid \mu_k, \Sigma_k)

    in coordinates theta without constraints: log odds, means, log-Cholesky factors (`unconstrained`). The gradient
    needs the responsibilities r_nk of an E-step; what it lacks is the M-step, which EM has in closed form. With one
    start EM is the method of choice; the gradient is worth its trouble where components overlap and EM is slow.

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", or VVV, EEE, VVI, EEI, VII, EII.
    method
        "lbfgs", on all data with a line search, or "adam", on random minibatches.
    start
        A `Mixture`, labels (N,) or responsibilities (N, K); by default the likeliest of 20 random starts.
    sample_weight : (N,)
        A row of weight w counts as w equal rows; Adam draws rows in proportion to it.
    missing
        What cells that were not seen (NaN) mean: "integrate" (not by Adam), "refuse" or "drop", as in `fit_em`.
    batch_size, learning_rate
        For Adam: points of a minibatch, at most N, and the first step size, which falls to zero as a cosine over
        `max_steps`.
    max_steps
        Largest number of steps of L-BFGS; number of steps of Adam.
    tol
        L-BFGS stops when its last gain and what it expects to gain are below `tol` nats.
    seed
        Seed of the random starts and the minibatches.

    Returns
    -------
    GradientFit
        A `FitWarning` is given when L-BFGS did not converge, and when either collapsed.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used, also for structures without unconstrained coordinates.

    References
    ----------
    Xu and Jordan (1996), doi 10.1162/neco.1996.8.1.129 (EM and gradient ascent); Liu and Nocedal (1989),
    doi 10.1007/BF01589116 (L-BFGS); Kingma and Ba (2015), arXiv 1412.6980 (Adam).

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> fit = bg.fit_gradient(bg.datasets.load("faithful"), n_components=2)
    >>> round(fit.log_likelihood, 3)
    -1130.264
    """
    problem = Problem.of(x, n_components, covariance_type=covariance_type, sample_weight=sample_weight, missing=missing)
    shape = Shape(problem.n_components, problem.table.n_features, _supported(problem.structure, covariance_type))
    rule = AscentRule(_number("tol", tol, 0.0), number_of_steps("max_steps", max_steps), problem.smallest_scale)
    minibatches = _Minibatches(
        positive_integer("batch_size", batch_size), _number("learning_rate", learning_rate, 1e-300)
    )
    one_of("method", method, METHODS, 'Begin with "lbfgs".')
    if method == "adam":
        refuse_errors(problem.table, "Adam draws minibatches of exact rows, and the rows")
    if method == "adam" and problem.table.has_gaps:
        found = f"Adam draws minibatches of complete rows, and there are {problem.table.gaps}."
        raise ArgumentError(found, 'method="lbfgs" where cells are missing', 'Or leave those rows out: missing="drop".')
    if method == "lbfgs":
        ascent = _run_lbfgs(start, problem, rule, shape, seed_integer(seed))
    else:
        ascent = _run_adam(start, problem, rule, shape, minibatches, seed_integer(seed))
    fit = _report(ascent, problem, shape, method)
    if fit.status is not EMStatus.CONVERGED and not (method == "adam" and fit.status is EMStatus.MAX_STEPS):
        said = " ".join((f"{method} ended {fit.status.name}.", *fit.degeneracies, fit.status.advice))
        warnings.warn(said, FitWarning, stacklevel=2)
    return fit


class _Minibatches(NamedTuple):
    """Points of a minibatch of Adam, and its first step size."""

    size: int
    learning_rate: float


def _begin(start: Any, problem: Problem, objective: Objective, seed: int) -> Array:
    """Coordinates of the start; of several random ones, those of the likeliest."""
    starts = starting_mixtures(problem, objective, start, _N_STARTS, seed)
    values = np.asarray(_log_likelihoods(starts, objective.data))
    best = int(np.argmax(np.nan_to_num(values, nan=-np.inf)))
    return to_unconstrained(jax.tree.map(lambda leaf: leaf[best], starts), problem.structure)


@jax.jit
def _log_likelihoods(starts: Mixture, data: Likelihood) -> Array:
    return jax.lax.map(lambda mixture: data.log_likelihood(data.natural(mixture)), starts)


@in_float64
def _run_lbfgs(start: Any, problem: Problem, rule: AscentRule, shape: Shape, seed: int) -> Ascent:
    objective = problem.objective()
    theta = _begin(start, problem, objective, seed)
    path_length = padded_length(int(rule.max_steps) + 1)
    return ascend_lbfgs(theta, objective.data, rule, shape=shape, path_length=path_length)


@in_float64
def _run_adam(
    start: Any, problem: Problem, rule: AscentRule, shape: Shape, minibatches: _Minibatches, seed: int
) -> Ascent:
    objective, n_points = problem.objective(), problem.table.n_points
    batch_size = min(minibatches.size, n_points)
    steps_per_report = -(-n_points // batch_size)
    padding = padded_length(n_points) - n_points
    sampling = Sampling(
        seed=seed,
        points=np.pad(problem.scaling.points_to_unit(problem.table.values), ((0, padding), (0, 0))),
        cumulative=np.pad(np.cumsum(problem.sample_weight), (0, padding), mode="edge"),
        passes_per_step=batch_size / n_points,
        steps_per_report=steps_per_report,
        learning_rate=minibatches.learning_rate,
    )
    path_length = padded_length(-(-int(rule.max_steps) // steps_per_report) + 1)
    theta = _begin(start, problem, objective, seed)
    return ascend_adam(
        theta, objective.data, rule, sampling, shape=shape, path_length=path_length, batch_size=batch_size
    )


@in_float64
def _in_data_units(ascent: Ascent, problem: Problem, shape: Shape) -> tuple[Mixture, Any]:
    """Mixture at the end of the ascent, and by how much its log-likelihood is higher in unit coordinates."""
    mixture = problem.scaling.to_data(from_unconstrained(jax.numpy.asarray(ascent.theta), *shape))
    return mixture, problem.log_volume


def _report(ascent: Ascent, problem: Problem, shape: Shape, method: str) -> GradientFit:
    mixture, gain = _in_data_units(ascent, problem, shape)
    n_entries = int(ascent.n_reports) + 1
    mixture = mixture.permute(np.argsort(mixture.means[:, 0], kind="stable"))
    return GradientFit(
        mixture=mixture,
        log_likelihood=problem.log_likelihood(mixture),
        status=EMStatus(int(ascent.status)),
        n_steps=int(ascent.n_steps),
        path=ascent.path[:n_entries] - gain,
        passes=ascent.passes[:n_entries],
        remaining=float(ascent.remaining),
        method=method,
        structure=problem.structure,
        table=problem.table,
        sample_weight=problem.sample_weight,
    )


def _supported(structure: Structure, covariance_type: Any) -> Structure:
    if structure.name not in SUPPORTED:
        raise ArgumentError(
            f"covariance_type is {covariance_type!r}, which has no coordinates free of constraints.",
            f'"full", "tied", "diag", "spherical" or one of {", ".join(SUPPORTED)}',
            "fit_em fits all fourteen structures.",
        )
    return structure


def _number(name: str, value: Any, smallest: float) -> float:
    expected = "a positive finite number" if smallest else "a finite number, 0 or more"
    return real_number(name, value, least=smallest, expected=expected, remedy=f"Leave {name} out for its default.")
