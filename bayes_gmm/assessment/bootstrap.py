r"""Sampling distribution of the maximum-likelihood fit, by fits to resampled data.

Each replicate gives the rows new random weights and runs EM from the fit. The weights are either the counts of rows
drawn with replacement (Efron 1979), or exponential (Newton and Raftery 1994), so that every row keeps some weight.
"""

import math
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from tqdm import tqdm

from bayes_gmm.core.interruption import until_interrupted
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import instance_of, one_of, open_probability, positive_integer, seed_integer
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.em_run import StoppingRule, run_to_the_end
from bayes_gmm.mle.standard_errors import reported
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.objective import Objective

KINDS = ("rows", "weights")

_NUMBERS_AT_ONCE = 2**24
"""Largest number of weights, rows times replicates, that one call of the compiled program gets: 128 MB."""

_REPLICATES_AT_ONCE = 128
"""Most replicates for one call: between calls Ctrl-C is noticed and the bar moves."""

_TOL = 1e-6
"""Gain in nats at which a replicate ends: its distance to the maximum is far below the resampling errors."""

_MAX_STEPS = 500
"""Runs start near their maxima; a replicate that needs more steps is counted as not converged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Bootstrap:
    """Fits to resampled data.

    Attributes
    ----------
    draws
        `Mixture` with one axis (R,), in data units, under the labels of the fit.
    statuses : (R,)
        How EM ended on each replicate.
    kind
        "rows" or "weights".
    interrupted
        Whether it was stopped before all replicates were made.
    fit
        The fit whose data were resampled.
    """

    draws: Mixture
    statuses: Int[np.ndarray, " R"]
    kind: str
    interrupted: bool
    fit: EMFit = field(repr=False)

    @property
    def usable(self) -> Bool[np.ndarray, " R"]:
        """Whether each replicate converged; the others take no part in errors and intervals."""
        return self.statuses == EMStatus.CONVERGED

    @property
    def standard_errors(self) -> dict[str, np.ndarray]:
        """Standard deviations over replicates of weights, means, scales, correlations and covariances."""
        return {name: values.std(0, ddof=1) for name, values in self._reported().items()}

    def intervals(self, level: float = 0.95) -> dict[str, np.ndarray]:
        """Percentile intervals, (2, ...) for each quantity (Efron and Tibshirani 1993, ISBN 0-412-04231-2, ch. 13)."""
        level = open_probability(level, 0.95, "level")
        tails = (1 - level) / 2, (1 + level) / 2
        return {name: np.quantile(values, tails, axis=0) for name, values in self._reported().items()}

    def _reported(self) -> dict[str, Float[np.ndarray, "usable ..."]]:
        """Parameters of the usable replicates by name; `FitError` when there are fewer than two."""
        if self.usable.sum() < 2:
            raise FitError(
                f"{int(self.usable.sum())} of {len(self.statuses)} replicates converged.",
                "at least 2",
                "Fit fewer components, or give a ConjugatePrior.",
            )
        usable = jax.tree.map(lambda leaf: leaf[self.usable], self.draws)
        return {name: getattr(usable, name) for name in reported(usable)}

    def __repr__(self) -> str:
        stopped = ", interrupted" if self.interrupted else ""
        return f"Bootstrap of {self.kind}: {int(self.usable.sum())} of {len(self.statuses)} replicates usable{stopped}"


def bootstrap(
    fit: EMFit, *, n_replicates: int = 1000, kind: str = "rows", seed: int = 0, progress: bool = False
) -> Bootstrap:
    r"""Fit again to resampled data, many times.

    .. math:: \hat\theta^* = \arg\max_\theta \sum_n w^*_n \log p(x_n \mid \theta)

    with weights w* that are multinomial ("rows") or exponential ("weights") with the rows' own weights as means.
    Each replicate begins at the fit, which keeps its labels, and ends within 1e-6 nats of its own maximum.

    Parameters
    ----------
    fit
        The fit to resample. Every replicate starts from it and keeps its structure, fixed parameters, known labels and
        prior.
    n_replicates
        Number of replicates R. The relative error of a standard error is about 1 / sqrt(2 R).
    kind
        "rows" or "weights".
    seed
        Seed of the resampling.
    progress
        Whether to show a bar on standard error. Ctrl-C keeps the replicates that are done.

    Raises
    ------
    ArgumentError
        When an argument cannot be used.
    FitError
        When the fit collapsed.

    References
    ----------
    Efron (1979), doi 10.1214/aos/1176344552; Newton and Raftery (1994), doi 10.1111/j.2517-6161.1994.tb01956.x.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2)
    >>> bg.bootstrap(mle, n_replicates=100).standard_errors["weights"].round(2)
    array([0.03, 0.03])
    """
    count, seed = positive_integer("n_replicates", n_replicates), seed_integer(seed)
    one_of("kind", kind, KINDS, "Rows are drawn with replacement by default.")
    instance_of("fit", fit, EMFit, "Give what fit_em returned.")
    fit.check()
    if fit.problem.estimates_degrees:
        raise ArgumentError(
            "The degrees of freedom of this fit were estimated, and replicates would hold them.",
            "a fit with degrees of freedom that are given",
            "Fit with degrees_of_freedom=fit.mixture.degrees_of_freedom, or take EMFit.standard_errors.",
        )
    rng = np.random.default_rng(seed)
    size = int(np.clip(_NUMBERS_AT_ONCE // fit.table.n_points, 1, min(count, _REPLICATES_AT_ONCE)))
    bar = tqdm(range(math.ceil(count / size)), desc="bootstrap", unit=" chunks", disable=not progress, leave=False)
    made = until_interrupted(_fit_all(fit, _resample(rng, fit.sample_weight, size, kind)) for _ in bar)
    chunks = list(made)
    made.reraise_unless(chunks)
    draws = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *(draws for draws, _ in chunks))
    statuses = np.concatenate([statuses for _, statuses in chunks])[:count]
    return Bootstrap(draws=draws, statuses=statuses, kind=kind, interrupted=made.interrupted, fit=fit)


def _resample(
    rng: np.random.Generator, sample_weight: Float[np.ndarray, " N"], size: int, kind: str
) -> Float[np.ndarray, "size N"]:
    """Random weights of the rows for `size` replicates, with `sample_weight` as their mean."""
    total = sample_weight.sum()
    if kind == "rows":
        return rng.multinomial(round(total), sample_weight / total, size=size).astype(float)
    weights = rng.exponential(size=(size, len(sample_weight))) * sample_weight
    return weights * total / weights.sum(1, keepdims=True)


@in_float64
def _fit_all(fit: EMFit, weights: Float[np.ndarray, "size N"]) -> tuple[Mixture, Int[np.ndarray | Array, " size"]]:
    """Fits (size,) to the rows with each row of weights, in data units, and their statuses."""
    problem, objective = fit.problem, fit.problem.objective(with_products=False)
    blocks = objective.data.in_blocks(problem.summed_out(weights))
    known = np.stack(
        [problem.known_statistics(of_replicate, diagonal=objective.data.diagonal) for of_replicate in weights]
    )
    rule = StoppingRule(tol=_TOL, max_steps=_MAX_STEPS, smallest_scale=problem.collapsed_scale, accelerate=True)
    mixtures, statuses = _follow_all(problem.scaling.to_unit(fit.mixture), objective, blocks, known, rule)
    return problem.scaling.to_data(jax.device_get(mixtures)), statuses


@jax.jit
def _follow_all(
    start: Mixture,
    objective: Objective,
    weights: Float[Array, "size *blocks"],
    known: Float[Array, "size K F"],
    rule: StoppingRule,
) -> tuple[Mixture, Int[Array, " size"]]:
    """Runs of EM from the same start with each of several weights of the rows, one run after another."""

    def fit_one(replicate: tuple[Array, Array]) -> tuple[Mixture, Array]:
        run = run_to_the_end(start, _reweighted(objective, *replicate), rule)
        return run.mixture, run.status

    return jax.lax.map(fit_one, (weights, known))


def _reweighted(objective: Objective, weights: Float[Array, "*blocks"], known: Float[Array, "K F"]) -> Objective:
    """The objective with other weights of the rows, and the statistics of the labelled rows under these weights."""
    return replace(objective, data=objective.data.with_weights(weights), known=known)
