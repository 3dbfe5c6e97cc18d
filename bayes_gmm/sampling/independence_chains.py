r"""Chains that mix Hamiltonian moves with independence proposals from a mixture of t distributions.

Where components overlap the posterior is several times wider along an arm than its curvature says, with a neck in
between, and no constant metric fits both. Proposals from a mixture fitted to the particles of the pilot jump from one
part to another, to another mode too: a proposal u' in place of u is accepted with probability

.. math:: \min\Big(1, \frac{p(u') \, q(u)}{p(u) \, q(u')}\Big).

One component by itself is offered new coordinates in the same way, the lighter the more often: the posterior has many
narrow places where a component holds a few points, and such a component has to leave. Hamiltonian moves explore near
by, in one of a few orders and metrics. Proposals do not depend on the chain, so their densities are computed
beforehand, side by side. Chains live on mixtures without labels (`label_symmetry`): after every iteration the
coordinates are folded, and the density of the prior counts once for each order.

The proposal is fitted anew to the draws while places are visited that it knows too little of, and these draws are
dropped: nothing adapts while draws are kept.

References
----------
Tierney (1994), doi 10.1214/aos/1176325750 (mixed kernels, independence chains); Gaasemyr (2003),
doi 10.1111/1467-9469.00318 (adaptation that ends).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.bayes.sites import constrain
from bayes_gmm.bayes.target import Target
from bayes_gmm.core.batches import BATCH, in_batches, split
from bayes_gmm.core.compilation import Programs
from bayes_gmm.core.precision import in_threads
from bayes_gmm.core.tuning import n_cores
from bayes_gmm.sampling.hamiltonian import Chances, Place, chances_of_moves, move, of_batch, place_at
from bayes_gmm.sampling.label_symmetry import Symmetry, View, unconstrain_symmetric
from bayes_gmm.sampling.proposals import (
    FEW_PARTS,
    Offered,
    Proposal,
    fit_proposal,
    log_ratio,
    offer,
    standard_proposal,
    weigh,
    weighed,
)
from bayes_gmm.sampling.tempered_pilot import Folded, Pilot, fold

CHUNK = 100
"""Iterations of one call of the compiled program: room for their draws and proposals is set aside in it."""

PROPOSALS, REDRAWS = 4, 2
"""Proposals of an iteration, and offers to draw one component anew: cheap, since they are evaluated side by side."""

VIEWS = FEW_PARTS
"""Orders and metrics in which chains move, one chosen at random in each iteration: kinds of region have theirs."""

LEAPFROGS = 16
"""Leapfrog steps of a move: long ones, since they leave what the proposals know too little of."""

_TUNING = 200
"""Iterations in which the step size follows the acceptance, before any draw is kept."""

_ACCEPTANCE, _GAIN = 0.85, 0.1
"""Acceptance of the Hamiltonian moves that the step size follows, and how fast."""

_RARELY_LEFT, _MOST_HELD = 0.005, 0.03
"""Share of the proposals of which fewer are accepted in places that hold a chain, and the share of such places up to
which a proposal is good enough to be kept."""

_COMPARED = 512
"""Proposals by whose ratios it is told where chains are held."""

_JUDGED_AFTER = (500, 1000)
"""Iterations after which the proposal is judged, and fitted anew where it knows too little: each time to more."""

_FITTED, _MOST_FITTED = 400, 4096
"""Places to which a proposal is fitted: so many for each coordinate, and at most."""

_KNOWN = 0.75
"""Share of them that draws of another sampler may be."""


class Kernel(NamedTuple):
    """All that an iteration depends on but for the chain: density, proposal, and the views (V,) in which it moves."""

    target: Target
    proposal: Proposal
    views: View


class ChainState(NamedTuple):
    """Where a chain is, and the step size of each view."""

    place: Place
    steps: Float[Any, " V"]


class Redraws(NamedTuple):
    """Coordinates offered to one component, Gumbel noise that chooses the component, and logarithms of uniforms."""

    blocks: Float[Any, "*batch c"]
    gumbels: Float[Any, "*batch K"]
    thresholds: Float[Any, "*batch"]


class Offers(NamedTuple):
    """All that iterations are offered, which does not depend on the chain: random numbers and proposals."""

    view: Int[Any, "*batch"]
    move: Chances
    redraws: Redraws
    proposals: Offered
    thresholds: Float[Any, "*batch J"]


type Observed = dict[str, np.ndarray]
"""Coordinates and statistics of iterations of all chains, (C, length, ...) each."""


class Prepared(NamedTuple):
    """Chains whose kernel is frozen."""

    kernel: Kernel
    states: list[ChainState]


def chain_programs(target: Target, symmetry: Symmetry, n_coordinates: int) -> Programs:
    """What compiles the programs of `prepare` and `sample`, the largest first."""
    proposal = standard_proposal(n_coordinates, symmetry)
    kernel = Kernel(target, proposal, proposal.whole.views(VIEWS))
    state = ChainState(of_batch(n_coordinates), np.zeros(VIEWS))
    nothing = Offered(of_batch(n_coordinates, CHUNK, PROPOSALS), np.zeros((CHUNK, PROPOSALS)))
    offers = _offers(proposal, nothing, symmetry, np.random.default_rng(0))
    yield lambda: _advance.lower(kernel, symmetry, state, offers, 0.0).compile()
    yield lambda: weigh.lower(np.zeros((BATCH, n_coordinates)), proposal, symmetry, target).compile()
    yield lambda: _symmetric.lower(np.zeros((BATCH, n_coordinates)), target).compile()


def prepare(
    target: Target,
    symmetry: Symmetry,
    pilot: Pilot,
    known: Float[np.ndarray, "S P"] | None = None,
    *,
    num_chains: int,
    seed: int,
) -> Iterator[int | Prepared]:
    """Tune steps and proposal: yields the iterations done, and at last the chains.

    `known` are draws of another sampler, in the target's coordinates. They need not have the right masses: the proposal
    is fitted to them as well, and chains may start there.
    """
    rng, done = np.random.default_rng([seed, 1]), 0
    particles = pilot.particles if known is None else _joined(pilot, known, symmetry, target)
    kernel = _kernel(target, symmetry, particles, rng)
    rows = rng.choice(len(particles.places.log_prior), num_chains, replace=False)
    states = [ChainState(_at(particles.places, row), np.full(VIEWS, pilot.step)) for row in rows]

    def advanced(length: int, *, tuned: bool) -> Iterator[Observed]:
        nonlocal states, done
        for _ in range(length // CHUNK):
            states, seen = _advance_all(kernel, symmetry, states, rng, tuned=tuned)
            done += CHUNK
            yield seen
        if tuned:
            steps = np.exp(np.mean([np.log(state.steps) for state in states], 0))
            states = [state._replace(steps=steps) for state in states]

    for length in (0, *_JUDGED_AFTER):
        parts = [particles.places]
        for seen in advanced(length, tuned=False):
            parts.append(_flat(seen))
            yield done
        if length:
            if _held(parts[1:], kernel, symmetry, rng) <= _MOST_HELD:
                break
            kernel = _kernel(target, symmetry, fold(_places(parts, rng), symmetry), rng)
        for _ in advanced(_TUNING, tuned=True):
            yield done
    yield Prepared(kernel, states)


def _held(parts: list[Place], kernel: Kernel, symmetry: Symmetry, rng: np.random.Generator) -> float:
    """Share of places where chains are held, since hardly any proposal would be accepted there."""
    here = log_ratios(_concatenated(parts).coordinates, kernel, symmetry)
    there = offer(kernel.proposal, symmetry, kernel.target, _COMPARED, rng).log_ratio
    # The mean ratio of the proposals, over that of a place, is no less than the share that is accepted there.
    typical = np.logaddexp.reduce(there) - np.log(len(there))
    return float((here - typical > -np.log(_RARELY_LEFT)).mean())


def sample(prepared: Prepared, symmetry: Symmetry, *, seed: int) -> Iterator[Observed]:
    """Iterations of the chains without end, `CHUNK` at a time."""
    states = prepared.states
    for number in count():
        rng = np.random.default_rng([seed, 2, number])
        states, seen = _advance_all(prepared.kernel, symmetry, states, rng, tuned=False)
        yield seen


def _joined(pilot: Pilot, known: Float[np.ndarray, "S P"], symmetry: Symmetry, target: Target) -> Folded:
    """Particles of the pilot and some of the known draws."""
    some = known[:: max(1, int(len(known) / (_KNOWN * _most_fitted(known.shape[1]))))]
    coordinates = in_batches(lambda part: _symmetric(part, target), split(some), len(some))
    # The program of the proposals has the densities; the ratio to a proposal is not needed here.
    found = weighed(coordinates, standard_proposal(known.shape[1], symmetry), symmetry, target).place
    usable = np.isfinite(found.log_posterior) & np.isfinite(coordinates).all(1)
    return fold(_concatenated([pilot.particles.places, _at(found, usable)]), symmetry)


@jax.jit
def _symmetric(coordinates: Float[Array, "S P"], target: Target) -> Float[Array, "S P"]:
    """Symmetric coordinates at those of the target."""

    def one(part: Array) -> Array:
        return unconstrain_symmetric(target.sites, constrain(target.sites, part)[0])

    return jax.vmap(one)(coordinates)


def _concatenated(parts: list[Place]) -> Place:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _at[T: Place | Offered](places: T, row: Any) -> T:
    return jax.tree.map(itemgetter(row), places)


def _flat(seen: Observed) -> Place:
    """Places of all chains after each iteration."""
    return Place(*(seen[name].reshape(-1, *seen[name].shape[2:]) for name in Place._fields))


def _places(parts: list[Place], rng: np.random.Generator) -> Place:
    """Places of all parts, or as many of them at random as are fitted."""
    whole = _concatenated(parts)
    size, most = len(whole.log_prior), _most_fitted(whole.coordinates.shape[1])
    return whole if size <= most else _at(whole, rng.choice(size, most, replace=False))


def _most_fitted(n_coordinates: int) -> int:
    return min(_FITTED * n_coordinates, _MOST_FITTED)


def _kernel(target: Target, symmetry: Symmetry, folded: Folded, rng: np.random.Generator) -> Kernel:
    """Kernel with a proposal fitted to folded places."""
    fitted = fit_proposal(target, symmetry, folded, rng)
    return Kernel(target, fitted.proposal, fitted.coarse.views(VIEWS))


def log_ratios(coordinates: Float[np.ndarray, "S P"], kernel: Kernel, symmetry: Symmetry) -> Float[np.ndarray, " S"]:
    """Logarithms of target over proposal at folded coordinates."""
    return weighed(coordinates, kernel.proposal, symmetry, kernel.target).log_ratio


def _advance_all(
    kernel: Kernel, symmetry: Symmetry, states: list[ChainState], rng: np.random.Generator, *, tuned: bool
) -> tuple[list[ChainState], Observed]:
    """States after `CHUNK` iterations of each chain, and what was observed on the way, (C, CHUNK, ...)."""
    shape = (len(states), CHUNK, PROPOSALS)
    proposals = offer(kernel.proposal, symmetry, kernel.target, int(np.prod(shape)), rng)
    proposals = jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[1:]), proposals)
    offers = _offers(kernel.proposal, proposals, symmetry, rng)
    own = [jax.tree.map(itemgetter(chain), offers) for chain in range(len(states))]

    def advance(state: ChainState, offers: Offers) -> tuple[ChainState, Observed]:
        return jax.device_get(_advance(kernel, symmetry, state, offers, float(tuned)))

    with ThreadPoolExecutor(min(len(states), n_cores())) as threads:
        moved, seen = zip(*in_threads(threads, advance, states, own), strict=True)
    return list(moved), {name: np.stack([part[name] for part in seen]) for name in seen[0]}


def _offers(proposal: Proposal, proposals: Offered, symmetry: Symmetry, rng: np.random.Generator) -> Offers:
    """Offers with these proposals (..., CHUNK, J)."""
    *shape, _ = proposals.log_ratio.shape
    blocks, _ = proposal.component.sample(int(np.prod(shape)) * REDRAWS, rng)
    return Offers(
        view=rng.integers(VIEWS, size=shape),
        move=chances_of_moves(rng, tuple(shape), proposals.place.coordinates.shape[-1]),
        redraws=Redraws(
            blocks=blocks.reshape(*shape, REDRAWS, -1),
            gumbels=rng.gumbel(size=(*shape, REDRAWS, len(symmetry.own))),
            thresholds=np.log1p(-rng.random((*shape, REDRAWS))),
        ),
        proposals=proposals,
        thresholds=np.log1p(-rng.random(proposals.log_ratio.shape)),
    )


@partial(jax.jit, static_argnames="symmetry")
def _advance(
    kernel: Kernel, symmetry: Symmetry, state: ChainState, offers: Offers, tuned: Array
) -> tuple[ChainState, dict[str, Array]]:
    """State after `CHUNK` iterations, and what was observed of each."""

    def once(state: ChainState, offered: Offers) -> tuple[ChainState, dict[str, Array]]:
        which = offered.view
        view: View = jax.tree.map(lambda leaf: jnp.asarray(leaf)[which], kernel.views)
        place = state.place._replace(coordinates=symmetry.put(state.place.coordinates, view.places))
        moved = move(place, offered.move, view, state.steps[which], 1.0, kernel.target, symmetry, leapfrogs=LEAPFROGS)
        redrawn = _redraw(moved.place, offered.redraws, kernel, symmetry)
        folded = symmetry.fold(redrawn.place.coordinates, kernel.proposal.direction)
        jumped = _jump(redrawn.place._replace(coordinates=folded), offered, kernel.proposal, symmetry)
        changed = jnp.exp(tuned * _GAIN * (moved.acceptance - _ACCEPTANCE))
        seen = {
            **jumped.place._asdict(),
            "energy": moved.energy,
            "acceptance_rate": moved.acceptance,
            "diverging": moved.diverging,
            "accepted": jumped.accepted,
            "redrawn": redrawn.accepted,
            "step_size": state.steps[which],
        }
        return ChainState(jumped.place, state.steps.at[which].multiply(changed)), seen

    return jax.lax.scan(once, state, offers)


class _Replaced(NamedTuple):
    """Place after some offers, and the share of them that was accepted."""

    place: Place
    accepted: Float[Array, ""]


def _jump(place: Place, offers: Offers, proposal: Proposal, symmetry: Symmetry) -> _Replaced:
    """Offer the proposals, one after another, in place of a folded place."""

    def once(number: Array, current: tuple[Offered, Array]) -> tuple[Offered, Array]:
        here, accepted = current
        there = _at(offers.proposals, number)
        taken = offers.thresholds[number] < there.log_ratio - here.log_ratio
        return _either(taken, there, here), accepted + taken / PROPOSALS

    begin = Offered(place, log_ratio(place, proposal, symmetry))
    here, accepted = jax.lax.fori_loop(0, PROPOSALS, once, (begin, jnp.zeros(())))
    return _Replaced(here.place, accepted)


def _redraw(place: Place, redraws: Redraws, kernel: Kernel, symmetry: Symmetry) -> _Replaced:
    """Offer other coordinates to one component at a time."""

    def once(number: Array, current: tuple[Place, Array]) -> tuple[Place, Array]:
        (here, accepted), (block, gumbels, threshold) = current, jax.tree.map(itemgetter(number), redraws)
        choice = symmetry.log_choice(here.coordinates)
        chosen = (choice + gumbels).argmax()
        before = symmetry.component(here.coordinates, chosen)
        there = place_at(symmetry.with_component(here.coordinates, chosen, block), kernel.target)
        gain = there.log_posterior - here.log_posterior
        back = symmetry.log_choice(there.coordinates)[chosen] - choice[chosen]
        densities = jax.vmap(kernel.proposal.component.log_density)(jnp.stack([before, block]))
        taken = threshold < gain + back + densities[0] - densities[1]
        return _either(taken, there, here), accepted + taken / REDRAWS

    return _Replaced(*jax.lax.fori_loop(0, REDRAWS, once, (place, jnp.zeros(()))))


def _either(condition: Bool[Array, ""], one: Any, other: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), one, other)
