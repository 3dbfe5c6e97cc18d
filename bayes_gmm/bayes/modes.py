r"""The modes of the posterior: where the chains start, each with the shape of its surroundings.

The optima that EM found lead to modes by Newton's method. Each has a mass, by Laplace's approximation

.. math:: \log Z_m = \log p(\theta_m, x) + \tfrac{P}{2} \log 2\pi - \tfrac12 \log |H_m|,

and every mode with a share of the mass gets chains of its own, so that explanations are not missed because all
chains began in one.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from bayes_gmm.bayes.laplace_approximation import Laplace, laplace, laplace_programs, potential_at
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.target import Target, coordinate_programs, to_coordinates, to_mixtures
from bayes_gmm.core.compilation import Programs
from bayes_gmm.core.precision import in_float64
from bayes_gmm.errors import FitError
from bayes_gmm.mixture.gaps import GaussianMoments, fit_one_gaussian
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.numpy_density import log_joint
from bayes_gmm.mle.em_result import EMFit

WORTH_A_CHAIN = 0.05
"""A mode with a smaller share of the mass, by Laplace's approximation, gets no chain of its own."""

WORTH_A_MENTION = 0.01
"""Modes with a larger share of the mass that got no chain are mentioned."""

_MARGIN = 20.0
"""Nats below the best at which a search is given up: such a mode holds less than 1e-8 of the mass."""

_OPTIMISM = 10.0
"""Factor by which the gain may exceed what Newton's model promises far from a mode."""

_FEW_STEPS = 12
"""Newton steps after which the hopeless searches are told from the others."""

_MANY_STEPS = 100
"""Newton steps of a search that goes to its end: a bound that a search near a mode does not reach."""

_SAME = 1e-3
"""Nats within which two modes have one height."""

_ALIKE = 1e-2
"""Nats a point by which the densities of two modes of one height may differ on average if they are one mode."""

_MOST_STARTS = 8
"""Starts that are followed, the most probable ones: each costs a search."""

_MOST_PERMUTED = 5
"""Components up to which all orders are tried: each order is a start of its own, and their number is K!."""

_UNLIKE, _LOOKED_AT = 4, 200
"""Draws from which more modes are looked for, and those among which they are chosen, at as many points."""

_MOMENT = 1.0
"""Seconds after which searches show how they proceed."""

_DRAWS_OF_PRIOR = 64
"""Draws of the prior among which a start is looked for where EM's optima lie outside the prior's support."""


class Modes(NamedTuple):
    """Modes of the posterior, most mass first.

    `around` are the Gaussians around them (M, ...), `mixtures` (M, ...) the modes in data units.
    """

    around: Laplace
    mixtures: Mixture

    @property
    def share(self) -> np.ndarray:
        """Share of the mass of each mode (M,)."""
        log_mass = self.around.log_mass
        mass = np.exp(log_mass - log_mass.max())
        return mass / mass.sum()

    @property
    def trustworthy(self) -> bool:
        """Whether these are modes, with proper Gaussians around them."""
        return bool(self.around.trustworthy.all())

    def allocate(self, num_chains: int) -> np.ndarray:
        """Mode of each chain (C,): one for each mode with a share of the mass, the rest by the largest remainder."""
        share = self.share[:num_chains]
        own = share >= WORTH_A_CHAIN
        own[0] = True
        wanted = np.where(own, share / share[own].sum() * num_chains, 0.0)
        chains = np.maximum(np.floor(wanted), own).astype(int)
        while chains.sum() > num_chains:
            chains[np.argmax(np.where(chains > 1, chains - wanted, -np.inf))] -= 1
        while chains.sum() < num_chains:
            chains[np.argmax(wanted - chains)] += 1
        return np.repeat(np.arange(len(chains)), chains)


def mode_programs(mixture: Mixture, target: Target) -> Programs:
    """What compiles the programs of `find_modes`."""
    coordinates = to_coordinates.eval_shape(mixture, target.sites)
    yield from coordinate_programs(mixture, target)
    yield from laplace_programs(coordinates, target)


@in_float64
def find_modes(problem: PosteriorProblem, target: Target, mle: EMFit, *, progress: bool = False) -> Modes:
    """Search from the optima of EM and from mixtures with one component fewer; keep the different modes.

    With `progress` a bar counts Newton's steps, where they take longer than a moment.
    """
    with tqdm(desc="modes", unit=" Newton steps", disable=not progress, leave=False, delay=_MOMENT) as bar:
        found = _search(_starts(problem, target, mle), problem, target, bar.update)
        if merged := _coordinates(_merged_starts(found[0], problem, target), target):
            found = _search([*merged, *(around.mode for around in found)], problem, target, bar.update)
        return _modes(found, problem, target)


@in_float64
def find_more_modes(known: Modes, draws: Mixture, problem: PosteriorProblem, target: Target) -> Modes:
    """The known modes, and those to which searches lead from draws (*, S) that are unlike them and one another."""
    starts = _coordinates(_each(_unlike(draws, known.mixtures, problem.table.values)), target)
    return _modes(_search([*starts, *known.around.mode], problem, target), problem, target)


def _modes(found: list[Laplace], problem: PosteriorProblem, target: Target) -> Modes:
    kept = _distinct([around for around in found if around.trustworthy] or found[:1], problem, target)
    around = jax.tree.map(lambda *leaves: np.stack(leaves), *kept)
    return Modes(around, to_mixtures(around.mode, target.sites)[0])


def _unlike(draws: Mixture, known: Mixture, x: np.ndarray) -> Mixture:
    """Some of the draws (*, S), each of which differs most in density from the known mixtures and those before it."""
    points = np.where(np.isnan(x), np.nanmean(x, axis=0), x)[:: max(1, len(x) // _LOOKED_AT)]
    size = draws.log_weights[..., 0].size
    rows = slice(None, None, max(1, size // _LOOKED_AT))
    some = jax.tree.map(lambda leaf: leaf.reshape(size, *leaf.shape[draws.log_weights.ndim - 1 :])[rows], draws)
    of_draws, of_known = (np.logaddexp.reduce(log_joint(mixtures, points), -1) for mixtures in (some, known))
    distances = np.abs(of_draws[:, None] - of_known).mean(-1).min(1)
    chosen: list[int] = []
    for _ in range(_UNLIKE):
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.abs(of_draws - of_draws[chosen[-1]]).mean(-1))
    return jax.tree.map(lambda leaf: leaf[chosen], some)


def _starts(problem: PosteriorProblem, target: Target, mle: EMFit) -> list[Any]:
    """Coordinates of EM's optima; of the best of some draws of the prior when those lie outside its support."""
    optima = mle.optima if problem.exchangeable else _labelled(mle.mixture)
    if starts := _coordinates(_each(optima), target):
        return starts
    return _coordinates(_each(problem.sample_prior(_DRAWS_OF_PRIOR, seed=0)), target) or _nowhere(problem)


def _coordinates(mixtures: list[Mixture], target: Target) -> list[Any]:
    """Coordinates of the most probable mixtures, best first, that may lead to a mode; none where none has a density."""
    starts = [to_coordinates(mixture, target.sites) for mixture in mixtures]
    if len(starts) > _MOST_STARTS:  # a look at the curvature takes many times as long as one at the density
        heights = np.array([potential_at(start, target) for start in starts])
        best = np.argsort(np.where(np.isfinite(heights), heights, np.inf), kind="stable")[:_MOST_STARTS]
        starts = [starts[m] for m in best]
    looks = [laplace(start, target, 1) for start in starts]
    finite = [m for m in range(len(looks)) if np.isfinite(looks[m].potential)]
    order = sorted(finite, key=lambda m: looks[m].potential)
    return [starts[m] for m in order if _may_gain(looks[m]) > looks[m].potential - looks[order[0]].potential]


def _may_gain(around: Laplace) -> float:
    """Nats that a search may gain at most: some for each parameter, and many times what Newton's model promises."""
    promised = _OPTIMISM * float(around.remaining) if around.damping == 0 else np.inf
    return float(_MARGIN + 0.5 * len(around.mode) + promised)


def _search(
    starts: list[Any], problem: PosteriorProblem, target: Target, tell: Callable[[], Any] = lambda: None
) -> list[Laplace]:
    """Short searches from all starts, then to the end from those that may lead to a mode with mass; best first.

    Each of their steps is told.
    """
    lowest, looks = np.inf, []

    def is_hopeless(here: Laplace) -> bool:
        tell()
        return bool(here.damping == 0 and here.potential - _OPTIMISM * here.remaining > lowest + _MARGIN)

    for start in starts:
        looks.append(laplace(start, target, _FEW_STEPS, is_hopeless))
        lowest = min(lowest, looks[-1].potential if np.isfinite(looks[-1].remaining) else np.inf)
    short = [around for around in looks if np.isfinite(around.remaining)]
    if not short:
        raise FitError(
            f"None of {len(looks)} searches found a place where the posterior density has a finite curvature.",
            "a posterior with a mode",
            "Look for columns that nearly repeat one another, or give start= a Mixture.",
        )
    hopeful = [around for around in short if around.potential - around.remaining < lowest + _MARGIN]
    promising = _distinct(hopeful, problem, target)

    def goes_on(here: Laplace) -> bool:
        tell()
        return False

    found = [around if around.ended else laplace(around.mode, target, _MANY_STEPS, goes_on) for around in promising]
    return sorted(found, key=lambda around: around.potential)


def _nowhere(problem: PosteriorProblem) -> list[Any]:
    raise FitError(
        f"The posterior has no density at EM's optima, nor at {_DRAWS_OF_PRIOR} draws of the prior.",
        "a prior that gives some mixture near the data a density",
        f"The prior in data units:\n{problem.prior.describe(problem.table.columns)}",
    )


def _each(mixtures: Mixture) -> list[Mixture]:
    """Mixtures of a batch (M, ...), one by one."""
    return [jax.tree.map(itemgetter(m), mixtures) for m in range(len(mixtures.log_weights))]


def labellings(n_components: int) -> np.ndarray:
    """All orders of the components (O, K), the identity first; of many components those that differ by one swap."""
    K = n_components
    if K <= _MOST_PERMUTED:
        return np.array(list(itertools.permutations(range(K))))
    pairs = np.array(list(itertools.combinations(range(K), 2)))
    orders = np.tile(np.arange(K), (len(pairs) + 1, 1))
    rows = np.arange(1, len(pairs) + 1)[:, None]
    orders[rows, pairs] = pairs[:, ::-1]
    return orders


def _labelled(mixture: Mixture) -> Mixture:
    """One mixture with its components in every order of `labellings`."""
    orders = labellings(mixture.n_components)
    return jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(orders), *leaf.shape)), mixture).permute(orders)


def _merged_starts(best: Laplace, problem: PosteriorProblem, target: Target) -> list[Mixture]:
    """Mixtures in which a pair of components is merged, by moments, and the freed one spread thinly over all points.

    When there are more components than the data ask for, such mixtures lie near modes that no optimum of the likelihood
    shows. Where they fit much worse than the best mode, there are no such modes, and none is returned.
    """
    if problem.n_components == 1:
        return []
    mixture, x = to_mixtures(best.mode, target.sites)[0], problem.table.values
    every = _moments_of_all(x)
    lowest = problem.log_densities(mixture).sum() - _MARGIN - 0.5 * len(best.mode)
    pairs = itertools.combinations(range(problem.n_components), 2)
    merged = (_merge(mixture, pair, len(x), every) for pair in pairs)
    return [one for one in merged if problem.log_densities(one).sum() > lowest]


def _moments_of_all(x: np.ndarray) -> GaussianMoments:
    if np.isnan(x).any():
        return fit_one_gaussian(x, np.ones(len(x)))
    return GaussianMoments(x.mean(0), np.atleast_2d(np.cov(x, rowvar=False)))


def _merge(whole: Mixture, pair: tuple[int, int], n_points: int, every: GaussianMoments) -> Mixture:
    kept, freed = pair
    mixture = replace(whole.without_noise(), degrees_of_freedom=None)  # of scatters, which have the part of covariances
    both = jax.tree.map(lambda leaf: leaf[list(pair)], mixture)
    weights, means, covariances = mixture.weights * (1 - 1 / n_points), mixture.means.copy(), mixture.covariances
    weights[kept], weights[freed] = weights[list(pair)].sum(), 1 / n_points
    both = replace(both, log_weights=both.log_weights - np.logaddexp.reduce(both.log_weights))
    means[kept], covariances[kept] = both.mean, both.covariance
    means[freed], covariances[freed] = every
    merged = Mixture.from_moments(weights, means, covariances)
    own = {"noise": whole.noise, "degrees_of_freedom": whole.degrees_of_freedom}
    return replace(merged, log_weights=merged.log_weights + np.log1p(-whole.noise_weight), **own)


def _distinct(found: list[Laplace], problem: PosteriorProblem, target: Target) -> list[Laplace]:
    """Different modes, most mass first: another labelling of a mode has its height and its density."""
    kept: list[tuple[Laplace, np.ndarray]] = []
    for around in sorted(found, key=lambda around: -around.log_mass):
        log_density = problem.log_densities(to_mixtures(around.mode, target.sites)[0])
        if not any(_same(around, log_density, *other) for other in kept):
            kept.append((around, log_density))
    return [around for around, _ in kept]


def _same(one: Laplace, log_density: np.ndarray, other: Laplace, its_log_density: np.ndarray) -> bool:
    """Whether two modes are one: symmetric data have different modes of one height, so the densities decide too."""
    close = np.abs(log_density - its_log_density).mean() <= _ALIKE
    return bool(close and abs(one.potential - other.potential) <= _SAME)
