"""Draws where NUTS alone is not enough: a tempered pilot, independence proposals, and chains until they suffice.

The number of iterations doubles until the invariants have the wanted R-hat and effective sample size; every first,
second, fourth and so on is kept, so that the draws stay as many. Decisions rest on counts: a seed gives the same draws
however fast the machine is, unless the limit of seconds ends the run, which is said.
"""

from collections.abc import Iterator
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float
from tqdm import tqdm

from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.sites import assemble, free, n_coordinates_of
from bayes_gmm.bayes.target import Target
from bayes_gmm.core.batches import BATCH, in_batches, split
from bayes_gmm.core.compilation import CompilingAhead
from bayes_gmm.core.interruption import until_interrupted
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.posterior.arviz_tree import invariants, probes
from bayes_gmm.posterior.diagnostics import worst_of
from bayes_gmm.posterior.explanations import entries
from bayes_gmm.posterior.sampling_options import SamplingOptions
from bayes_gmm.posterior.verdict import LARGEST_RHAT
from bayes_gmm.sampling import independence_chains, tempered_pilot
from bayes_gmm.sampling.independence_chains import CHUNK, LEAPFROGS, Observed, Prepared, chain_programs
from bayes_gmm.sampling.label_symmetry import MOST_ORDERED, Symmetry, constrain_symmetric

KEPT = 1000
"""Draws that are kept of each chain."""

_MOST_ITERATIONS = 32 * KEPT
"""Iterations of each chain after which a run ends, whatever its draws are worth."""

_PARTICLES, _MORE_PARTICLES, _MANY_COORDINATES = 2 * BATCH, 4 * BATCH, 12
"""Particles of the pilot, and those for more coordinates than the third number."""

_MOST_COORDINATES = 60
"""Coordinates up to which proposals of all of them at once are tried: of more coordinates too few are accepted."""

_EVALUATIONS = 500
"""Evaluations of the density that the pilot needs for each particle, about."""

_MOST_SECONDS_OF_PILOT = 20.0
"""Estimated seconds up to which the pilot is run."""

_UNCOVERED_BY = 1.0
"""Nats by which a particle's ratio of target to proposal may exceed nearly all of the chains' where it is covered."""

_NEARLY_ALL = 0.995

_NEIGHBOURS = 3
"""Nearest particles of which most must be uncovered as well, for a particle to speak of a missed mode."""


class Explored(NamedTuple):
    """Draws (C, S) as mixtures, in an order near to one another, and what was observed on the way.

    Attributes
    ----------
    draws, log_likelihood, statistics
        Mixtures in data units, their log-likelihoods, and by ArviZ's names what is known of each iteration.
    accepted : (C,)
        Share of the independence proposals that each chain accepted.
    uncovered
        Share of the pilot's particles that lie together where the chains have been too rarely, by the proposal's
        density.
    n_iterations
        Iterations of each chain, of which `KEPT` at most were kept.
    out_of_time, interrupted
        Whether the limit of seconds or Ctrl-C ended the run.
    log_evidence
        Logarithm of the marginal likelihood as the pilot estimates it.
    """

    draws: Mixture
    log_likelihood: Float[np.ndarray, "C S"]
    statistics: dict[str, np.ndarray]
    accepted: Float[np.ndarray, " C"]
    uncovered: float
    n_iterations: int
    out_of_time: bool
    interrupted: bool
    log_evidence: float


def obstacle(problem: PosteriorProblem) -> str:
    """Why the posterior of a problem cannot be explored in this way, or an empty text."""
    K, n_coordinates = problem.n_components, n_coordinates_of(problem.sites)
    if K > MOST_ORDERED and problem.exchangeable:
        return f"{K} components are more than {MOST_ORDERED}"
    if n_coordinates > _MOST_COORDINATES:
        return f"{n_coordinates} parameters are more than {_MOST_COORDINATES}"
    if name := _without_draws(problem):
        return f"the prior of {name} has a density and cannot be drawn from"
    nanoseconds = TUNING.nanoseconds + TUNING.nanoseconds_of_squares * problem.table.n_features**2
    seconds = 1e-9 * nanoseconds * problem.table.n_points * K * _EVALUATIONS * _n_particles(n_coordinates)
    return "" if seconds <= _MOST_SECONDS_OF_PILOT else f"{problem.table.n_points} points are too many for a pilot"


def _without_draws(problem: PosteriorProblem) -> str:
    """Name of a parameter whose prior draws nothing, such as a density that a user wrote, or an empty text."""
    key = jax.eval_shape(jax.random.key, 0)
    for name, site in free(problem.sites).items():
        try:
            jax.eval_shape(site.sample, key)
        except NotImplementedError:
            return name
    return ""


def _n_particles(n_coordinates: int) -> int:
    return _MORE_PARTICLES if n_coordinates > _MANY_COORDINATES else _PARTICLES


@in_float64
def explore(
    problem: PosteriorProblem,
    target: Target,
    options: SamplingOptions,
    known: Float[np.ndarray, "C S P"],
    *,
    began: float,
) -> Explored | None:
    """Pilot, adaptation and chains; None when Ctrl-C or the limit of seconds ended the run before there were draws.

    `known` are draws of NUTS in the target's coordinates, whose masses may be wrong.
    """
    run = _Run(problem, target, known.reshape(-1, known.shape[-1]), options, began)
    with tqdm(desc="pilot", disable=not options.progress, leave=False, bar_format="{desc} {elapsed}{postfix}") as bar:
        work = until_interrupted(run.steps(bar))
        list(work)
    return run.result(interrupted=work.interrupted) if run.kept else None


class _Run:
    """What an exploration has made so far."""

    def __init__(
        self,
        problem: PosteriorProblem,
        target: Target,
        known: Float[np.ndarray, "S P"],
        options: SamplingOptions,
        began: float,
    ) -> None:
        self.problem, self.target, self.known, self.options = problem, target, known, options
        self.symmetry = Symmetry.of(problem.sites)
        self.ends = began + options.max_seconds
        # The chains' programs are compiled beside those of the pilot.
        self.programs = CompilingAhead(chain_programs(target, self.symmetry, n_coordinates_of(problem.sites)))
        self.kept: list[Observed] = []
        self.jumps: list[np.ndarray] = []
        self.n_iterations, self.out_of_time = 0, False
        self.pilot: tempered_pilot.Pilot
        self.prepared: Prepared

    def steps(self, bar: Any) -> Iterator[None]:
        """Everything, a step at a time."""
        for progress in self._pilot():
            bar.set_postfix_str(f"power {progress.power:.2g}")
            yield
            if self._late():
                return
        bar.set_description("compiling")
        self.programs.wait()
        for prepared in independence_chains.prepare(
            self.target,
            self.symmetry,
            self.pilot,
            self.known,
            num_chains=self.options.num_chains,
            seed=self.options.seed,
        ):
            if isinstance(prepared, Prepared):
                self.prepared = prepared
            else:
                bar.set_description("adapting")
                bar.set_postfix_str(f"{prepared} iterations")
            yield
            if self._late():
                return
        bar.set_description("sampling")
        for seen in independence_chains.sample(self.prepared, self.symmetry, seed=self.options.seed):
            self._keep(seen)
            bar.update(CHUNK)
            yield
            if self._done(bar) or self._late():
                return

    def _pilot(self) -> Iterator[tempered_pilot.Progress]:
        size = _n_particles(n_coordinates_of(self.problem.sites))
        for progress in tempered_pilot.explore(self.target, self.symmetry, n_particles=size, seed=self.options.seed):
            if progress.pilot is not None:
                self.pilot = progress.pilot
            yield progress

    def _late(self) -> bool:
        self.out_of_time = monotonic() > self.ends
        return self.out_of_time

    def _keep(self, seen: Observed) -> None:
        self.n_iterations += CHUNK
        self.jumps.append(seen["accepted"].mean(1))
        self.kept.append(seen)

    def _observed(self) -> Observed:
        every = max(1, self.n_iterations // KEPT)
        whole = {name: np.concatenate([part[name] for part in self.kept], 1) for name in self.kept[0]}
        return {name: values[:, every - 1 :: every] for name, values in whole.items()}

    def _done(self, bar: Any) -> bool:
        doublings = np.log2(self.n_iterations / KEPT)
        if doublings < 0 or doublings != round(doublings):
            return False
        seen = self._observed()
        draws = mixtures_at(seen["coordinates"], self.target)
        found = invariants(draws, seen["log_likelihood"], probes(self.problem.table.values))
        worst = worst_of(np.concatenate(list(map(entries, found.values()))))
        bar.set_postfix_str(f"ESS {worst.ess:.0f} of {self.options.min_ess:.0f}")
        enough = worst.r_hat <= LARGEST_RHAT and worst.ess >= self.options.min_ess
        return bool(enough) or self.n_iterations >= _MOST_ITERATIONS

    def result(self, *, interrupted: bool) -> Explored:
        """The draws that are kept, and what is known of them."""
        seen = self._observed()
        statistics = {
            "lp": seen["log_prior"] + seen["log_likelihood"],
            "n_steps": np.full(seen["energy"].shape, LEAPFROGS),
            **{name: seen[name] for name in ("energy", "acceptance_rate", "step_size", "diverging")},
            "independence_acceptance_rate": seen["accepted"],
        }
        return Explored(
            draws=mixtures_at(seen["coordinates"], self.target),
            log_likelihood=seen["log_likelihood"],
            statistics=statistics,
            accepted=np.mean(self.jumps, 0),
            uncovered=self._uncovered(seen["coordinates"]),
            n_iterations=self.n_iterations,
            out_of_time=self.out_of_time,
            interrupted=interrupted,
            log_evidence=self.pilot.log_evidence,
        )

    def _uncovered(self, coordinates: Float[np.ndarray, "C S P"]) -> float:
        """Share of the pilot's particles that lie together with a larger ratio of target to proposal than the draws."""
        kernel = self.prepared.kernel
        particles = self.symmetry.fold(self.pilot.particles.places.coordinates, kernel.proposal.direction)
        flat = coordinates.reshape(-1, coordinates.shape[-1])
        here, there = (independence_chains.log_ratios(part, kernel, self.symmetry) for part in (particles, flat))
        uncovered = here > np.quantile(there, _NEARLY_ALL) + _UNCOVERED_BY
        unit = np.linalg.solve(self.pilot.particles.factor, particles.T).T
        return float(among_their_like(uncovered, unit).mean())


def among_their_like(marked: Bool[np.ndarray, " B"], points: Float[np.ndarray, "B P"]) -> Bool[np.ndarray, " B"]:
    """Marked points most of whose neighbours are marked.

    A mode that was missed holds particles side by side; single ones lie in thin tails of the proposal, also where
    nothing was missed.
    """
    lengths = (points**2).sum(1)
    distances = lengths[:, None] + lengths - 2 * points @ points.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.argpartition(distances, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
    return marked & (marked[nearest].mean(1) > 0.5)


def mixtures_at(coordinates: Float[np.ndarray, "C S P"], target: Target) -> Mixture:
    """Mixtures in data units at symmetric coordinates."""
    flat = coordinates.reshape(-1, coordinates.shape[-1])
    found = in_batches(partial(_assemble, sites=target.sites), split(flat), len(flat))
    return jax.tree.map(lambda leaf: leaf.reshape(*coordinates.shape[:2], *leaf.shape[1:]), found)


@jax.jit
def _assemble(coordinates: Float[Array, "S P"], sites: Any) -> Mixture:
    return jax.vmap(lambda one: assemble(constrain_symmetric(sites, one)[0]))(coordinates)
