r"""Proposals that do not depend on where a chain is: all coordinates anew, or those of one component.

They are mixtures of t distributions fitted to places of the posterior,

.. math:: q(u) = (1 - d) \, t(u) + d \, K! \, p(u),

with a share d of the prior, counted once for each order of the components. Draws and the ratios of the target to q are
made beforehand, side by side.

The component that is drawn anew is chosen with a probability that falls with its weight
(`label_symmetry.Symmetry.log_choice`), and the mixture for it is fitted to components so chosen. A share of its parts
is fitted to draws from the prior: a component without points may lie anywhere.

References
----------
Hesterberg (1995), doi 10.1080/00401706.1995.10484303 (defensive mixtures).
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.bayes.target import Target
from bayes_gmm.core.batches import in_batches, split
from bayes_gmm.core.precision import in_float64
from bayes_gmm.sampling.hamiltonian import Place, place_at
from bayes_gmm.sampling.label_symmetry import Symmetry
from bayes_gmm.sampling.t_mixture import TMixture, fit_t_mixture, joined, standard
from bayes_gmm.sampling.tempered_pilot import Folded, draws_of_prior
from bayes_gmm.sampling.unlabelled_t_mixture import MOST_PARTS, UnlabelledTMixture, fit_unlabelled, standard_unlabelled

DEFENCE = 0.1
"""Share of the prior in the proposals: a thin place of the t distributions cannot hold a chain for ever."""

FEW_PARTS = 4
"""Parts of the proposal that is tried beside that of `MOST_PARTS`, since it is fitted well to few places."""

_TRIED = 512
"""Draws of each candidate for the proposal by whose acceptance it is chosen."""

_FITTED_COMPONENTS, _EMPTY_COMPONENTS = 2048, 512
"""Blocks of single components to which their proposal is fitted, and those drawn from the prior."""

_COMPONENT_PARTS, _EMPTY_PARTS, _EMPTY_SHARE = 30, 2, 0.2
"""Parts fitted to each of these, and the share of the latter."""


class Proposal(NamedTuple):
    """Mixtures of t distributions of all coordinates and of those of one component, and the direction of the fold."""

    whole: UnlabelledTMixture
    component: TMixture
    direction: Float[Any, " P"]


class Offered(NamedTuple):
    """Places, and the logarithm of target over proposal: minus infinity where there is no density."""

    place: Place
    log_ratio: Float[Any, "*batch"]


class Fitted(NamedTuple):
    """The proposal of which most is accepted, and the one with few parts, whose orders and metrics suit moves."""

    proposal: Proposal
    coarse: UnlabelledTMixture


def standard_proposal(n_coordinates: int, symmetry: Symmetry) -> Proposal:
    """A proposal for which programs are compiled."""
    n_of_component = symmetry.own.shape[1] + min(1, symmetry.weights.size)
    component = standard(n_of_component, _COMPONENT_PARTS + _EMPTY_PARTS)
    return Proposal(standard_unlabelled(n_coordinates, symmetry), component, np.zeros(n_coordinates))


def fit_proposal(target: Target, symmetry: Symmetry, folded: Folded, rng: np.random.Generator) -> Fitted:
    """Proposals fitted to folded places, and the choice between them by what would be accepted at some of these."""
    coordinates = folded.places.coordinates
    here = coordinates[rng.choice(len(coordinates), _TRIED)]
    with ThreadPoolExecutor(1) as thread:  # beside this one, with random numbers of its own
        of_component = thread.submit(_fit_component, target, symmetry, coordinates, *rng.spawn(1))
        wholes = [fit_unlabelled(coordinates, folded.factor, n, symmetry, rng) for n in (FEW_PARTS, MOST_PARTS)]
        component = of_component.result()
    found = []
    for whole in wholes:
        proposal = Proposal(whole, component, folded.direction)
        there = offer(proposal, symmetry, target, _TRIED, rng).log_ratio
        before = weighed(here, proposal, symmetry, target).log_ratio
        found.append((float(np.exp(np.minimum(0.0, there[None] - before[:, None])).mean()), proposal))
    return Fitted(max(found, key=itemgetter(0))[1], found[0][1].whole)


@in_float64
def _fit_component(
    target: Target, symmetry: Symmetry, coordinates: Float[np.ndarray, "S P"], rng: np.random.Generator
) -> TMixture:
    """Mixture for one component, fitted to some of the places and to draws from the prior."""
    some = coordinates[rng.choice(len(coordinates), _FITTED_COMPONENTS)]
    of_prior = draws_of_prior(target, _EMPTY_COMPONENTS, rng).coordinates
    of_places = fit_t_mixture(_components(some, symmetry, rng), _COMPONENT_PARTS, rng)
    empty = fit_t_mixture(_components(of_prior, symmetry, rng), _EMPTY_PARTS, rng)
    return joined([of_places, empty], [1 - _EMPTY_SHARE, _EMPTY_SHARE])


def _components(
    coordinates: Float[np.ndarray, "S P"], symmetry: Symmetry, rng: np.random.Generator
) -> Float[np.ndarray, "S c"]:
    """Block of one component of each place, chosen as it is to be drawn anew."""
    keys = rng.integers(2**32, size=(len(coordinates), 2), dtype=np.uint32)
    parts = list(zip(split(coordinates), split(keys), strict=True))
    return in_batches(lambda part: _blocks(*part, symmetry), parts, len(coordinates))


@partial(jax.jit, static_argnames="symmetry")
def _blocks(coordinates: Float[Array, "S P"], keys: Array, symmetry: Symmetry) -> Float[Array, "S c"]:
    def one(part: Array, key: Array) -> Array:
        return symmetry.component(
            part, jax.random.categorical(jax.random.wrap_key_data(key), symmetry.log_choice(part))
        )

    return jax.vmap(one)(coordinates, keys)


def offer(proposal: Proposal, symmetry: Symmetry, target: Target, size: int, rng: np.random.Generator) -> Offered:
    """Folded draws from the proposal, in random order, with their ratios: minus infinity where they are refused."""
    n_prior = rng.binomial(size, DEFENCE)
    by_prior = draws_of_prior(target, max(n_prior, 1), rng).coordinates[:n_prior]
    by_parts, in_order = proposal.whole.sample(size - n_prior, symmetry, rng)
    coordinates = symmetry.fold(np.concatenate([by_prior, by_parts]), proposal.direction)
    found = weighed(coordinates, proposal, symmetry, target)
    usable = np.concatenate([np.full(n_prior, True), in_order])
    found = found._replace(log_ratio=np.where(usable, found.log_ratio, -np.inf))
    order = rng.permutation(size)
    return jax.tree.map(itemgetter(order), found)


def weighed(coordinates: Float[np.ndarray, "S P"], proposal: Proposal, symmetry: Symmetry, target: Target) -> Offered:
    """Places and ratios of target over proposal at coordinates."""
    return in_batches(lambda part: weigh(part, proposal, symmetry, target), split(coordinates), len(coordinates))


@partial(jax.jit, static_argnames="symmetry")
def weigh(coordinates: Float[Array, "S P"], proposal: Proposal, symmetry: Symmetry, target: Target) -> Offered:
    """The same in a compiled program."""

    def one(part: Array) -> Offered:
        place = place_at(part, target)
        return Offered(place, log_ratio(place, proposal, symmetry))

    return jax.vmap(one)(coordinates)


def log_ratio(place: Place, proposal: Proposal, symmetry: Symmetry) -> Float[Array, ""]:
    """Log density of the target over that of the proposal, up to a constant; minus infinity without a density."""
    by_prior = np.log(DEFENCE) + symmetry.log_orders + place.log_prior
    by_parts = np.log1p(-DEFENCE) + proposal.whole.log_density(place.coordinates, symmetry)
    defined = jnp.isfinite(place.log_posterior)
    log_posterior = jnp.where(defined, place.log_posterior, 0.0)
    return jnp.where(defined, log_posterior - jnp.logaddexp(by_parts, by_prior), -jnp.inf)
