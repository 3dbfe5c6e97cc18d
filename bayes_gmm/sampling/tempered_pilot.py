r"""A pilot of the posterior: particles drawn from the prior and moved through a likelihood that is raised in steps.

At each step the power beta grows until the weights \(w_b \propto p(x \mid u_b)^{\beta' - \beta}\) are worth six tenths
of the particles; these are drawn anew by their weights and moved. No start is used but the prior, so that a mode is
missed only where no particle finds it. The particles say where the posterior lies and give the metric; its masses are
left to chains.

References
----------
Del Moral, Doucet and Jasra (2006), doi 10.1111/j.1467-9868.2006.00553.x; Chopin (2002), doi 10.1093/biomet/89.3.539.
"""

from collections.abc import Iterator
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.bayes.compiled_sites import draw
from bayes_gmm.bayes.sites import free
from bayes_gmm.bayes.target import Target
from bayes_gmm.core.batches import BATCH, in_batches, split
from bayes_gmm.sampling.hamiltonian import Chances, Place, chances_of_moves, move, place_at
from bayes_gmm.sampling.label_symmetry import Symmetry, View, unconstrain_symmetric
from bayes_gmm.sampling.unlabelled_t_mixture import fit_unlabelled

_WORTH = 0.6
"""Effective share of the particles to which the power may lower it in one step."""

_MOVES, _LAST_MOVES = 2, 4
"""Moves of each particle after each step, and at the end."""

_LEAPFROGS = 5
"""Leapfrog steps of a move of a particle."""

_ACCEPTANCE = 0.75
"""Acceptance that the step size follows."""

_TOO_FEW = 0.5
"""Acceptance below which the particles are moved again, at most three times."""

_ROUNDS = 3
"""Rounds of folding the particles to their mean."""

_RIDGE = 1e-9
"""Added to the variances of coordinates, relative to them, so that their covariance can be factorised."""


class Folded(NamedTuple):
    """Places in one order of their components, the direction that tells it, and the factor of their covariance.

    The covariance is averaged over all orders, so that no order changes the distances that it gives.
    """

    places: Place
    direction: Float[np.ndarray, " P"]
    factor: Float[np.ndarray, "P P"]


class Pilot(NamedTuple):
    """Folded particles (B,), the size of steps that suits them, and the sequential estimate of the log evidence."""

    particles: Folded
    step: float
    log_evidence: float


class Progress(NamedTuple):
    """Power that the particles have reached, and the pilot once that is one."""

    power: float
    pilot: Pilot | None = None


def explore(target: Target, symmetry: Symmetry, *, n_particles: int, seed: int) -> Iterator[Progress]:
    """Move particles, a multiple of `BATCH`, from the prior to the posterior, a step at a time."""
    rng = np.random.default_rng([seed, 0])
    places = _usable(draws_of_prior(target, n_particles, rng), rng)
    power, step, log_evidence = 0.0, places.coordinates.shape[1] ** -0.25, 0.0
    while power < 1:
        rise = _next_rise(places.log_likelihood, 1 - power)
        log_ratios = rise * places.log_likelihood
        log_evidence += float(np.logaddexp.reduce(log_ratios)) - np.log(n_particles)
        power = min(1.0, power + rise)
        particles = fold(_chosen(places, _resampled(log_ratios, rng)), symmetry)
        times = _MOVES if power < 1 else _LAST_MOVES
        places, step = _moved(particles, step, power, target, symmetry, rng, times)
        yield Progress(power)
    yield Progress(power, Pilot(fold(places, symmetry), step, log_evidence))


def fold(places: Place, symmetry: Symmetry) -> Folded:
    """Places in the order nearest to their mean, which is found from the best of them in a few rounds."""
    points = places.coordinates
    pivot = points[np.argmax(places.log_posterior)]
    for _ in range(_ROUNDS):
        covariance = symmetry.average(np.cov(points.T).reshape(len(pivot), len(pivot)))
        covariance += _RIDGE * np.diag(np.diagonal(covariance))
        direction = np.linalg.solve(covariance, pivot)
        points = symmetry.fold(points, direction)
        pivot = points.mean(0)
    return Folded(places._replace(coordinates=points), direction, np.linalg.cholesky(covariance))


def draws_of_prior(target: Target, size: int, rng: np.random.Generator) -> Place:
    """Draws from the prior, (size,), in no particular order of their components."""
    drawn = {name: draw(site, rng, size) for name, site in free(target.sites).items()}
    known = {name: values for name, values in drawn.items() if values is not None}
    parts = [dict(zip(known, values, strict=True)) for values in zip(*map(split, known.values()), strict=True)]
    keys = rng.integers(2**32, size=(-(-size // BATCH), 2), dtype=np.uint32)
    return in_batches(
        lambda part: _draw_prior(target, *part), list(zip(parts or [{}] * len(keys), keys, strict=True)), size
    )


@jax.jit
def _draw_prior(target: Target, known: dict[str, Array], key: Array) -> Place:
    """Places with these values of some parameters, and draws of the others."""
    others = {name: site for name, site in free(target.sites).items() if name not in known}
    keys = jax.random.split(jax.random.wrap_key_data(key), max(1, len(others)))
    values = {name: site.sample(one, (BATCH,)) for one, (name, site) in zip(keys, others.items(), strict=False)}
    return jax.vmap(lambda one: place_at(unconstrain_symmetric(target.sites, one), target))(known | values)


def _usable(places: Place, rng: np.random.Generator) -> Place:
    """Places with a density, in place of those that have none."""
    usable = np.isfinite(places.log_posterior)
    return places if usable.all() else _chosen(places, rng.choice(np.flatnonzero(usable), len(usable)))


def _chosen(places: Place, rows: Any) -> Place:
    return jax.tree.map(lambda leaf: leaf[rows], places)


def _next_rise(log_likelihood: Float[np.ndarray, " B"], most: float) -> float:
    """Largest rise of the power that leaves the weights worth enough, by bisection of its logarithm."""

    def worth(rise: float) -> float:
        log_ratios = rise * (log_likelihood - log_likelihood.max())
        effective = 2 * np.logaddexp.reduce(log_ratios) - np.logaddexp.reduce(2 * log_ratios)
        return float(np.exp(effective)) / len(log_ratios)

    if worth(most) >= _WORTH:
        return most
    low, high = np.log(most) - 60.0, float(np.log(most))
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if worth(np.exp(middle)) >= _WORTH else (low, middle)
    return float(np.exp(low))


def _resampled(log_ratios: Float[np.ndarray, " B"], rng: np.random.Generator) -> np.ndarray:
    """Rows drawn by their weights, systematically: each as often as its share, up to one."""
    shares = np.exp(log_ratios - np.logaddexp.reduce(log_ratios))
    places = (rng.random() + np.arange(len(shares))) / len(shares)
    return np.minimum(np.searchsorted(np.cumsum(shares), places), len(shares) - 1)


def _moved(
    particles: Folded,
    step: float,
    power: float,
    target: Target,
    symmetry: Symmetry,
    rng: np.random.Generator,
    times: int,
) -> tuple[Place, float]:
    """Particles after some moves, and the step size that their acceptance asks for."""
    fitted = fit_unlabelled(particles.places.coordinates, particles.factor, 1, symmetry, rng)
    view: View = jax.tree.map(itemgetter(0), fitted.views(1))
    places = particles.places._replace(coordinates=symmetry.put(particles.places.coordinates, view.places))
    for _ in range(4):
        parts = [_chosen(places, rows) for rows in np.arange(len(places.log_prior)).reshape(-1, BATCH)]
        chances = [chances_of_moves(rng, (_LAST_MOVES, BATCH), len(particles.factor)) for _ in parts]

        def one(part: tuple[Place, Chances], step: float = step) -> Any:
            return _move_batch(*part, view, step, power, target, times, symmetry)

        places, acceptance = in_batches(one, list(zip(parts, chances, strict=True)), len(places.log_prior))
        step *= float(np.exp(1.5 * (acceptance.mean() - _ACCEPTANCE)))
        if acceptance.mean() >= _TOO_FEW:
            break
    return places, step


@partial(jax.jit, static_argnames="symmetry")
def _move_batch(
    places: Place,
    chances: Chances,
    view: View,
    step: Array,
    power: Array,
    target: Target,
    times: Array,
    symmetry: Symmetry,
) -> tuple[Place, Float[Array, " B"]]:
    """Places after so many moves, and the mean acceptance of each."""
    one: Any = partial(move, view=view, step=step, power=power, target=target, symmetry=symmetry, leapfrogs=_LEAPFROGS)

    def once(number: Array, state: tuple[Place, Array]) -> tuple[Place, Array]:
        before, total = state
        moved = jax.vmap(one)(before, jax.tree.map(lambda leaf: leaf[number], chances))
        return moved.place, total + moved.acceptance / times

    return jax.lax.fori_loop(0, times, once, (places, jnp.zeros(BATCH)))
