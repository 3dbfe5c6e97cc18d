r"""Degrees of freedom of t distributions by maximum likelihood: a search over the profile of the likelihood.

EM with the degrees of freedom held is quick; with them among its parameters it is slow just where it matters, because
near the Gaussian the precisions of the rows, were they seen, would tell so much more than the rows do. So they are held
in EM, and

.. math:: \ell_p(t) = \max_\theta \ell(\theta, \nu = 1 / t), \qquad
          \frac{d \ell_p}{d t} = \frac{\partial \ell}{\partial t}(\hat\theta(t), t)

is maximised over t, in which the likelihood is smooth up to the Gaussian at t = 0, by quasi-Newton steps with bounds:
each value takes a short run of EM from where the best one ended, and the slope costs one pass (the envelope theorem).
Steps are in units of the standard error that the scores of the rows promise.

References
----------
Maximising the observed likelihood over the degrees of freedom: Liu and Rubin (1994, ECME), doi 10.1093/biomet/81.4.633;
bounds: Byrd, Lu, Nocedal and Zhu (1995), doi 10.1137/0916069.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayes_gmm.mixture.degrees_of_freedom import COMMON, FIRST, LEAST, MOST
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.em_run import EMRun, StoppingRule
from bayes_gmm.mle.multistart import SAME_OPTIMUM, Round, run_rounds
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem

_CANDIDATES = 4
"""Number of the best distinct maxima at the first degrees of freedom that are followed to those of their own."""

_TOL = 1e-12
"""Nats to which the value of the profile is found: its slope is to be right to the root of that."""

_MOST_STEPS = 500
"""Steps of EM for one value of the profile, which begins near the end."""

_MOST_VALUES = 60
"""Values of the profile at which a search ends."""

_FLAT = 1e-6
"""Slope, in nats a standard error, at which a search has converged."""

_AT_BOUND = 1e-6
"""Relative distance from a bound of the degrees of freedom that is none."""


def at_bound(degrees: Float[Any, "*batch"], bound: float) -> Bool[np.ndarray, "*batch"]:
    """Which degrees of freedom lie at a bound of the search, `LEAST` or `MOST`."""
    return np.abs(np.asarray(degrees) / bound - 1) < _AT_BOUND


def free_directions(mixture: Mixture, problem: Problem) -> Float[np.ndarray, "K J"]:
    """Which components each of the numbers of degrees of freedom belongs to that are estimated and not at a bound."""
    directions = problem.degrees_directions
    if not directions.shape[1]:
        return directions
    stuck = at_bound(mixture.degrees_of_freedom, MOST) | at_bound(mixture.degrees_of_freedom, LEAST)
    return directions[:, ~(directions * stuck[:, None]).any(0)]


def tails_in_words(mixture: Mixture, problem: Problem, errors: Float[np.ndarray, " K"]) -> tuple[str, ...]:
    """A sentence on the degrees of freedom of a fit, which says where components are Gaussian enough."""
    if problem.degrees_of_freedom is None:
        return ()
    degrees = np.asarray(mixture.degrees_of_freedom)
    if not problem.estimates_degrees:
        return (f"Components are t distributions with degrees of freedom held at {_listed(degrees)}.",)
    common = problem.degrees_of_freedom == COMMON
    numbers = [_with_error(nu, error) for nu, error in zip(degrees, errors, strict=True)][: 1 if common else None]
    together = " in common" if common and len(degrees) > 1 else ""
    said = [f"Components are t distributions with {', '.join(numbers)} degrees of freedom{together}."]
    if (gaussian := at_bound(degrees, MOST)).any():
        said.append(
            f"{_named(gaussian)} at the upper bound of {MOST:g}: Gaussian enough, the data show no heavy tails there."
        )
    if (heavy := at_bound(degrees, LEAST)).any():
        said.append(f"{_named(heavy)} at the lower bound of {LEAST:g}: tails as heavy as Cauchy's, or heavier.")
    return tuple(said)


def _with_error(value: float, error: float) -> str:
    return f"{value:.4g}" + (f" +- {error:.2g}" if np.isfinite(error) else "")


def _named(chosen: Bool[np.ndarray, " K"]) -> str:
    numbers = np.flatnonzero(chosen)
    if len(numbers) == len(chosen):
        return "All components are"
    return f"Component{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))} {'are' if len(numbers) > 1 else 'is'}"


def _listed(degrees: Float[np.ndarray, " K"]) -> str:
    return f"{degrees[0]:g}" if (degrees == degrees[0]).all() else ", ".join(f"{nu:g}" for nu in degrees)


def estimate_degrees(runs: EMRun, objective: Objective, rule: StoppingRule, problem: Problem) -> EMRun:
    """The runs (R,) with the best distinct maxima followed to their own degrees of freedom, the others left behind.

    Runs that had come to one maximum share what it was followed to.
    """
    ended = np.isin(runs.status, (EMStatus.CONVERGED, EMStatus.MAX_STEPS))
    values = np.where(ended, runs.value, -np.inf)
    leaders = _distinct(values)
    room = [(0, 0)] * (runs.path.ndim - 1) + [(0, _MOST_VALUES)]
    status = np.where(ended, EMStatus.LEFT_BEHIND, runs.status)
    found = replace(runs, path=np.pad(runs.path, room, constant_values=np.nan), status=status, past=None)
    leaves = [np.array(leaf) for leaf in jax.tree.leaves(found)]
    for leader in leaders:
        start = jax.tree.map(lambda leaf, leader=leader: leaf[leader : leader + 1], found)
        start = replace(start, status=runs.status[leader : leader + 1])
        search = _Search(objective=objective, rule=rule, problem=problem, best=start)
        search.climb()
        same = np.abs(values - values[leader]) <= SAME_OPTIMUM
        for every, leaf in zip(leaves, jax.tree.leaves(search.best), strict=True):
            every[same] = leaf
    return jax.tree.unflatten(jax.tree.structure(found), leaves)


def _distinct(values: Float[np.ndarray, " R"]) -> list[int]:
    """Runs with the highest values that differ, the best first."""
    kept: list[int] = []
    for run in np.argsort(-values, kind="stable"):
        if np.isfinite(values[run]) and all(abs(values[other] - values[run]) > SAME_OPTIMUM for other in kept):
            kept.append(int(run))
    return kept[:_CANDIDATES]


@dataclass(kw_only=True)
class _Search:
    """A search over the profile from one run (1,), which becomes the best of all that were made."""

    objective: Objective
    rule: StoppingRule
    problem: Problem
    best: EMRun
    unit: Float[np.ndarray, " J"] = field(init=False)

    def climb(self) -> None:
        """Follow the profile to its maximum."""
        from scipy.optimize import minimize  # which takes a tenth of a second to load, and no other fit needs

        directions = self.problem.degrees_directions
        first = np.full(directions.shape[1], 1 / FIRST)
        scale = _standard_errors(self._mixture(), self._at(first), self._spread())
        self.unit = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
        bounds = [(1 / MOST / unit, 1 / LEAST / unit) for unit in self.unit]
        options = {"ftol": 0.0, "gtol": _FLAT, "maxfun": _MOST_VALUES - 1, "maxls": 20}
        minimize(self._negative, first / self.unit, jac=True, method="L-BFGS-B", bounds=bounds, options=options)

    def _negative(self, scaled: Float[np.ndarray, " J"]) -> tuple[float, Float[np.ndarray, " J"]]:
        """Minus the profile and its slope; the run is kept where it is the best, or the first."""
        objective = self._at(scaled * self.unit)
        start = replace(self.best.mixture, degrees_of_freedom=objective.degrees_of_freedom[None])
        rule = self.rule._replace(tol=_TOL, max_steps=max(int(self.rule.max_steps), _MOST_STEPS))
        run = run_rounds(start, objective, rule, (Round(1, int(rule.max_steps) + 1),), path_length=1)
        value, failed = float(run.value[0]), run.status[0] in (EMStatus.COLLAPSED, EMStatus.NONFINITE)
        if failed or not np.isfinite(value):
            return 1e6 + abs(float(self.best.value[0])), np.zeros(len(scaled))
        mixture = jax.tree.map(lambda leaf: leaf[0], run.mixture)
        slope = np.asarray(_slope(mixture, objective, self._spread()))
        if not value < float(self.best.value[0]):
            self.best = self._longer(run, value)
        return -value, -slope * self.unit

    def _longer(self, run: EMRun, value: float) -> EMRun:
        """The best run, which has come to another value with one step more."""
        n_steps, path = self.best.n_steps + 1, self.best.path.copy()
        path[0, n_steps[0]] = value
        changed = {"value": run.value, "status": run.status, "mixture": run.mixture, "n_steps": n_steps, "path": path}
        return replace(self.best, **changed)

    def _spread(self) -> Float[np.ndarray, "K J"]:
        """Which components each of the J numbers belongs to, with absent ones, to which none does."""
        directions = self.problem.degrees_directions
        return np.pad(directions, ((0, len(self.objective.present) - len(directions)), (0, 0)))

    def _at(self, inverse: Float[np.ndarray, " J"]) -> Objective:
        """The objective with the degrees of freedom at these inverse values."""
        spread = self._spread()
        degrees = 1 / np.where(spread.any(1), spread @ inverse, 1.0)
        return replace(self.objective, degrees_of_freedom=np.clip(degrees, LEAST, MOST))

    def _mixture(self) -> Mixture:
        return jax.tree.map(lambda leaf: leaf[0], self.best.mixture)


@jax.jit
def _slope(mixture: Mixture, objective: Objective, spread: Float[Array, "K J"]) -> Float[Array, " J"]:
    """Derivative of the objective in the inverse degrees of freedom at a maximum over all other parameters."""
    statistics = objective.expect(mixture).statistics
    return jnp.einsum("kf,kfj->j", statistics, _natural_slopes(mixture, objective, spread))


def _natural_slopes(mixture: Mixture, objective: Objective, spread: Float[Array, "K J"]) -> Float[Array, "K F J"]:
    """Derivative of the natural parameters in the inverse degrees of freedom."""

    def natural(change: Array) -> Any:
        degrees = 1 / (1 / mixture.degrees_of_freedom + spread @ change)
        return objective.data.natural(replace(mixture, degrees_of_freedom=degrees))

    return jax.jacfwd(natural)(jnp.zeros(spread.shape[1]))


@jax.jit
def _standard_errors_of_scores(
    mixture: Mixture, objective: Objective, spread: Float[Array, "K J"]
) -> Float[Array, " J"]:
    slopes = _natural_slopes(mixture, objective, spread).reshape(-1, spread.shape[1])
    products = objective.data.score_products(objective.data.natural(mixture))
    return 1 / jnp.sqrt(jnp.einsum("pj,pq,qj->j", slopes, products, slopes))


def _standard_errors(mixture: Mixture, objective: Objective, spread: Float[np.ndarray, "K J"]) -> np.ndarray:
    """Standard errors of the inverse degrees of freedom, if all else were known, as the scores of the rows tell."""
    return np.asarray(_standard_errors_of_scores(mixture, objective, spread))
