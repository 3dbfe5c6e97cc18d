r"""The posterior without sampling: Gaussians around its modes, corrected by importance weights.

.. math:: q(\theta) = \frac{1}{K!} \sum_\tau \sum_m s_m N(\tau\theta \mid \theta_m, H_m^{-1}), \qquad
          w_s \propto p(\theta_s, x) / q(\theta_s),

in unconstrained coordinates, with s_m the share of the mass of mode m. Where the prior tells the components apart there
is one order tau, and no K!; otherwise all orders count, because one Gaussian reaches several labellings where
components overlap. The largest weights are smoothed by a generalised Pareto distribution fitted to them, whose shape k
says whether the weights can be trusted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import lgamma
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from bayes_gmm.bayes.modes import Modes, find_modes, labellings, mode_programs
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.bayes.sites import constrain, reorder, unconstrain
from bayes_gmm.bayes.target import Target, to_mixtures
from bayes_gmm.core.compilation import CompilingAhead
from bayes_gmm.core.linalg import LOG_2PI
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import names_its_arguments, positive_integer, seed_integer
from bayes_gmm.io.result_file import write_result
from bayes_gmm.mcmc.importance_weights import smooth_importance_weights
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.arviz_tree import one_chain, parameters
from bayes_gmm.posterior.relabelling import relabel
from bayes_gmm.posterior.sampled import pivot_of
from bayes_gmm.posterior.starting_fit import starting_fit

LARGEST_PARETO_K = 0.7
"""Limit for reliable estimates from a few thousand draws, by Vehtari, Simpson, Gelman, Yao and Gabry (2024)."""

_DRAWS_AT_ONCE = 16
"""Draws that the compiled programs evaluate side by side: a trade of memory, which all orders need, for speed."""


class Moments(NamedTuple):
    """Posterior mean and standard deviation of a quantity of any shape."""

    mean: Any
    sd: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class LaplaceFit:
    """Weighted draws from Gaussians around the modes of the posterior.

    Attributes
    ----------
    draws
        `Mixture` (S,) in data units, under the labels of the EM fit.
    log_weights : (S,)
        Logarithms of the smoothed importance weights, which sum to one.
    pareto_k
        Shape k of the weights' tail: below 0.7 the weighted draws represent the posterior up to Monte Carlo error.
    log_evidence
        Logarithm of the marginal likelihood p(x), with the mass of all K! labellings.
    modes
        The modes and the Gaussians around them.
    problem
        The data, the structure and the prior, every part filled in.
    """

    draws: Mixture
    log_weights: Float[np.ndarray, " S"] = field(repr=False)
    pareto_k: float
    log_evidence: float
    modes: Modes = field(repr=False)
    problem: PosteriorProblem = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "draws", self.draws.with_columns(self.problem.table.columns))

    @property
    def trustworthy(self) -> bool:
        """Whether Pareto's k is below 0.7 and the modes have proper Gaussians around them."""
        return self.pareto_k < LARGEST_PARETO_K and self.modes.trustworthy

    @property
    def advice(self) -> str:
        """Whether the draws can be used, and what to do where they cannot."""
        if self.trustworthy:
            return "The weighted draws are the posterior, but for Monte Carlo error."
        if not self.modes.trustworthy:
            return "No proper mode was found. Use fit_nuts."
        return "The posterior is not close to its Gaussians, and the weights do not mend that. Use fit_nuts."

    @property
    def effective_sample_size(self) -> float:
        """Number of equally weighted draws worth as much, 1 / sum w^2 (Kong 1992)."""
        return float(np.exp(-np.logaddexp.reduce(2 * self.log_weights)))

    def expectation(self, function: Callable[[Mixture], Any]) -> Moments:
        """Posterior mean and sd of a function of the batch of draws, such as `lambda draws: draws.means`."""
        return self._moments(np.asarray(function(self.draws)))

    def summary(self) -> dict[str, Moments]:
        """Posterior mean and sd of weights, means, scales and correlations."""
        values = parameters(self.draws, self.problem.table.columns)
        return {name: self._moments(part) for name, part in values.items()}

    def _moments(self, values: Shaped[np.ndarray, "S ..."]) -> Moments:
        weights = np.exp(self.log_weights)
        mean = np.tensordot(weights, values, 1)
        return Moments(mean, np.asarray(np.sqrt(np.tensordot(weights, (values - mean) ** 2, 1))))

    def resample(self, num_draws: int, *, seed: int = 0) -> Mixture:
        """Mixtures (num_draws,) of equal weight, drawn with replacement by their weights."""
        rng, num_draws = np.random.default_rng(seed_integer(seed)), positive_integer("num_draws", num_draws)
        chosen = rng.choice(len(self.log_weights), num_draws, p=np.exp(self.log_weights))
        return jax.tree.map(lambda leaf: leaf[chosen], self.draws)

    @cached_property
    def tree(self) -> Any:
        """Draws resampled to equal weight, as many as there are, as one chain in the group posterior of a DataTree."""
        return one_chain(self.resample(len(self.log_weights)), self.problem.table)

    def save(self, path: str | Path) -> None:
        """Write everything, the data included, to a netCDF file that `load` gives back.

        Raises
        ------
        ArgumentError
            When the prior has a distribution that is not NumPyro's own.
        OutputError
            When the file cannot be written; an old one stays as it was.
        """
        write_result(path, self)

    def __repr__(self) -> str:
        lines = [
            f"LaplaceFit: {self.draws.n_components} components, {len(self.log_weights)} draws around "
            f"{len(self.modes.share)} modes",
            f"  Pareto k {self.pareto_k:.2f}, {self.effective_sample_size:.0f} effective draws, "
            f"log evidence {self.log_evidence:.2f}",
            f"  {self.advice}",
        ]
        if self.trustworthy:
            lines += [f"  {name:13} {_plus_minus(*moments)}" for name, moments in self.summary().items()]
        return "\n".join(lines)


@names_its_arguments
def fit_laplace(
    x: Any,
    n_components: int,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    sample_weight: Any = None,
    missing: str = "integrate",
    noise: Any = False,
    errors: Any = None,
    components: str = "gaussian",
    degrees_of_freedom: Any = None,
    num_draws: int = 4000,
    seed: int = 0,
    start: EMFit | None = None,
    progress: bool = True,
) -> LaplaceFit:
    """Approximate the posterior by Gaussians around its modes, and correct them by importance weights.

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points.
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", "EEI" or "EII".
    prior
        Prior in data units; the default takes its scale from the data (`Prior`).
    sample_weight : (N,)
        Weights of the rows: a row of weight 3 counts as three equal rows, one of weight 0 is ignored.
    missing
        What cells that were not seen (NaN) mean: "integrate", "refuse" or "drop", as in `fit_nuts`.
    noise
        Uniform noise over a box: False, True, "box", "principal box" or a density, as in `fit_em`.
    errors
        Known errors of the values, as in `fit_nuts`.
    components, degrees_of_freedom
        "gaussian", or "t" for t distributions with these degrees of freedom, as in `fit_nuts`.
    num_draws
        Number of draws from the approximation.
    seed
        Seed of everything random.
    start
        An EM fit of the same table; fitted when left out.
    progress
        Whether to show on standard error what is done, where that takes long.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.

    References
    ----------
    Tierney and Kadane (1986), doi 10.1080/01621459.1986.10478240; Pareto smoothing: Vehtari, Simpson, Gelman, Yao and
    Gabry (2024), JMLR 25, 72.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> fit = bg.fit_laplace(bg.datasets.load("faithful"), n_components=2)
    >>> fit.trustworthy
    True
    """
    problem = PosteriorProblem.of(
        x,
        n_components,
        covariance_type=covariance_type,
        prior=prior,
        sample_weight=sample_weight,
        missing=missing,
        noise=noise,
        errors=errors,
        components=components,
        degrees_of_freedom=degrees_of_freedom,
    )
    num_draws, seed = positive_integer("num_draws", num_draws), seed_integer(seed)
    with jax.enable_x64(True):
        target = problem.target()
        searching = CompilingAhead(mode_programs(problem.mixture_shape, target))
    mle = starting_fit(problem, start, seed, progress=progress)
    searching.wait(progress=progress)
    drawn = _draw(problem, target, mle, num_draws, seed)
    pivot = pivot_of(problem, mle, drawn.modes)
    table = problem.table
    labelled = relabel(
        drawn.draws, pivot, table.values, sample_weight=problem.sample_weight, errors=table.error_covariances
    )
    smoothed = smooth_importance_weights(drawn.log_ratios)
    return LaplaceFit(
        draws=drawn.draws.permute(labelled.permutations) if problem.exchangeable else drawn.draws,
        log_weights=smoothed.log_weights,
        pareto_k=smoothed.pareto_k,
        log_evidence=float(np.logaddexp.reduce(drawn.log_ratios) - np.log(num_draws)),
        modes=drawn.modes,
        problem=problem,
    )


class _Drawn(NamedTuple):
    """Modes, draws from the Gaussians around them, and logarithms of posterior density over that of the Gaussians."""

    modes: Modes
    draws: Mixture
    log_ratios: Float[np.ndarray, " S"]


@in_float64
def _draw(problem: PosteriorProblem, target: Target, mle: EMFit, num_draws: int, seed: int) -> _Drawn:
    modes = find_modes(problem, target, mle)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(modes.share), num_draws, p=modes.share)
    noise = rng.standard_normal((num_draws, modes.around.mode.shape[1], 1))
    coordinates = modes.around.mode[chosen] + (modes.around.factor[chosen] @ noise)[..., 0]
    log_joint = -np.asarray(_potentials(coordinates, target))
    log_ratios = np.where(np.isnan(log_joint), -np.inf, log_joint) - _log_proposal(problem, modes, coordinates, target)
    return _Drawn(modes, to_mixtures(coordinates, target.sites)[0], log_ratios)


@jax.jit
def _potentials(coordinates: Float[Array, "S P"], target: Target) -> Float[Array, " S"]:
    return jax.lax.map(target.potential, coordinates, batch_size=min(_DRAWS_AT_ONCE, len(coordinates)))


class _Gaussians(NamedTuple):
    """Centres, inverse factors and log heights of the Gaussians around the modes."""

    centers: Float[Array | np.ndarray, "M P"]
    inverse: Float[Array | np.ndarray, "M P P"]
    log_heights: Float[Array | np.ndarray, " M"]


def _log_proposal(
    problem: PosteriorProblem, modes: Modes, coordinates: Float[np.ndarray, "S P"], target: Target
) -> Float[np.ndarray, " S"]:
    """Log density of the mixture of Gaussians, averaged over the labellings where the prior tells none apart."""
    K = problem.n_components
    orders = labellings(K) if problem.exchangeable else np.arange(K)[None]
    inverse = np.linalg.inv(modes.around.factor)
    _, log_scale = np.linalg.slogdet(inverse)
    with np.errstate(divide="ignore"):
        log_heights = np.log(modes.share) + log_scale - 0.5 * coordinates.shape[1] * LOG_2PI
    total = _log_sums(coordinates, orders, _Gaussians(modes.around.mode, inverse, log_heights), target)
    # `labellings` leaves out most orders of many components, in which the Gaussians are too far away to count.
    return np.asarray(total) - (lgamma(K + 1) if problem.exchangeable else 0.0)


@jax.jit
def _log_sums(
    coordinates: Float[Array, "S P"], orders: Int[Array, "O K"], gaussians: _Gaussians, target: Target
) -> Float[Array, " S"]:
    """Log of the sum of the Gaussians' densities at each draw in all `orders` of its components."""

    def at_one(point: Float[Array, " P"]) -> Float[Array, ""]:
        values, log_prior = constrain(target.sites, point)
        in_order = partial(_log_sum_in_order, values=values, log_prior=log_prior, gaussians=gaussians, target=target)
        return jax.nn.logsumexp(jax.vmap(in_order)(orders))

    return jax.lax.map(at_one, coordinates, batch_size=min(_DRAWS_AT_ONCE, len(coordinates)))


def _log_sum_in_order(
    order: Int[Array, " K"],
    values: dict[str, Any],
    log_prior: Float[Array, ""],
    gaussians: _Gaussians,
    target: Target,
) -> Float[Array, ""]:
    """Log of the sum of the Gaussians' densities at one draw whose components are put in an order."""
    moved = unconstrain(target.sites, reorder(values, order))
    whitened = jnp.einsum("mij,mj->mi", gaussians.inverse, moved[None] - gaussians.centers)
    # An exchangeable prior has the same density of parameters in all orders, so the log prior densities of the
    # coordinates differ by the change of volume alone.
    volume = log_prior - constrain(target.sites, moved)[1]
    return jax.nn.logsumexp(gaussians.log_heights - 0.5 * (whitened**2).sum(1)) + volume


def _plus_minus(mean: Float[np.ndarray, "..."], sd: Float[np.ndarray, "..."]) -> str:
    """Mean and sd of each entry, with semicolons between components."""
    return "; ".join(
        ", ".join(f"{m:.4g} +- {s:.2g}" for m, s in zip(np.atleast_1d(ms), np.atleast_1d(ss), strict=True))
        for ms, ss in zip(np.atleast_1d(mean), np.atleast_1d(sd), strict=True)
    )
