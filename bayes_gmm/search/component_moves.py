"""Moves between components: one is split where it gains most, others are merged or deleted where that loses least.

EM alone never moves a component from where there is one too many to where there is one too few. What every split would
gain and every removal would lose is told first, and the promising moves are rehearsed, by EM of the components near by
(`rehearsals`), the best first and none that would adapt a component that another has adapted. All that gain are then
made at once, and judged by the objective after a short run of EM, against a run without them. Where a batch gains
nothing its best quarter is tried, and so on.

Moves also find spurious maxima, components on a few points that lie close together by chance. One that a move makes,
of few points and narrow, is therefore charged a nat for each of its parameters, as by AIC, and log N for the choice of
its place, when the move is judged; and no move may leave a component with too few points for a covariance.

References
----------
Ueda, Nakano, Ghahramani and Hinton (2000), split and merge EM, doi 10.1162/089976600300015088; Zhang, Chen, Sun and
Chan (2003), doi 10.1016/S0031-3203(03)00059-1.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from bayes_gmm.core.precision import in_threads
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.component_removals import DELETED, Removal, removals
from bayes_gmm.search.component_splits import Halves, split_halves
from bayes_gmm.search.covariance_shape import LEAST_VARIANCE, CovarianceShape, pair_moments
from bayes_gmm.search.merged_cells import merged_cells
from bayes_gmm.search.rehearsals import Rehearsal, near_by, overlaps, rehearse
from bayes_gmm.search.row_statistics import Responsibilities, RowEM, Rows, State

FROM_COMPONENTS = 10
"""Number of components from which climbs find better maxima than random starts, however many."""

_FEW_COMPONENTS, _SHORT_TABLE = 3, 2000
"""Numbers of components, and of points, up to which a hundred random starts are as good and cost little."""

_MOST_FEATURES = 64
"""Number of features up to which moves were tried."""

_CELLS = (5, 10)
"""Cells for each component of which climbs begin, by turns; so many climbs are made side by side."""

_MOST_CLIMBS, _MOST_CLIMBS_OF_LONG_TABLES, _LONG_TABLE = 8, 4, 5000
"""Number of climbs that are made at most, and the number of points from which on that is fewer."""

KEPT = 2
"""Ends of climbs that a fit goes on from, the best ones."""

_SAME_END = 1.0
"""Nats within which the best two climbs have come to the same end: no more of them are made then."""

_FIRST_STEPS = 30
"""Steps of EM before the first move."""

_MOST_STEPS, _STEPS_PER_COMPONENT = 200, 5
"""E-steps of a climb, and what each component adds to them: it ends earlier where no move is accepted."""

_BATCH_STEPS, _SETTLING_STEPS = 15, 50
"""Steps of EM after which a batch of moves is judged, and before it is believed that no move gains."""

_LITTLE = 1e-2
"""Nats of a step of EM after which no more of them are made before a move is judged."""

_LEAST_PROMISE = -25.0
"""Expected gain from which moves are tried: a merge looks worse than it is until the others have adapted."""

_REHEARSED, _GAIN = 1, 0.5
"""Moves for each component that are rehearsed in a round, and the gain, in nats, from which one is made."""

_MOVES = 50
"""Moves for each component that are looked at."""

_POINTS_PER_DIMENSION, _POINTS_PER_PARAMETER, _NARROW = 3, 2, 0.05
"""Few points for a component, by both counts; and a small variance in its narrowest direction, relative to that within
all components."""


def usual_number_of_climbs(problem: Problem) -> int:
    """Largest number of climbs by default; none where components are few or cannot be moved.

    A component with a name, by a label or a fixed parameter, cannot be where another was; and hard assignment and noise
    are other objectives.
    """
    (n_points, n_features), K = problem.table.values.shape, problem.n_components
    few = K <= _FEW_COMPONENTS or (K < FROM_COMPONENTS and n_points <= _SHORT_TABLE)
    plain = problem.assignment == "soft" and problem.noise is None
    if few or problem.names_components or not plain or n_features > _MOST_FEATURES:
        return 0
    return _MOST_CLIMBS if n_points <= _LONG_TABLE else _MOST_CLIMBS_OF_LONG_TABLES


def climbs(problem: Problem, objective: Objective, seed: int, most: int, tell: Callable[[float], None]) -> Mixture:
    """The best two mixtures, or one if no more are asked for, at which moves from merged cells ended, the best first.

    Climbs are made until the best two of them have come to the same end, or there are `most`. Everything is in unit
    coordinates; `tell` is given the log-likelihood before each round of moves.
    """

    def climb(number: int) -> tuple[float, Mixture]:
        rng, n_cells = np.random.default_rng((seed, number)), _CELLS[number % len(_CELLS)]
        return _climb(problem, objective, rng, n_cells, tell)

    values: list[float] = []
    found: list[Mixture] = []
    with ThreadPoolExecutor(len(_CELLS)) as threads:
        while len(found) < most and not _agree(values):
            numbers = range(len(found), min(len(found) + len(_CELLS), most))
            for value, mixture in in_threads(threads, climb, numbers):
                values.append(value)
                found.append(mixture)
    best = np.argsort(-np.array(values), kind="stable")[:KEPT]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(found[i] for i in best))


def _agree(values: list[float]) -> bool:
    best = sorted(values)[-2:]
    return len(best) == 2 and best[0] > best[1] - _SAME_END


def _with_absent(mixture: Mixture, n_slots: int) -> Mixture:
    """A mixture with absent components up to this number."""
    absent, n_features = n_slots - len(mixture.log_weights), mixture.means.shape[1]
    if not absent:
        return mixture
    return Mixture(
        log_weights=np.pad(mixture.log_weights, (0, absent), constant_values=-np.inf),
        means=np.pad(mixture.means, ((0, absent), (0, 0))),
        scale_tril=np.concatenate([mixture.scale_tril, np.tile(np.eye(n_features), (absent, 1, 1))]),
    )


def _climb(
    problem: Problem, objective: Objective, rng: np.random.Generator, n_cells: int, tell: Callable[[float], None]
) -> tuple[float, Mixture]:
    """Where moves from merged cells end, and the value of the objective there."""
    K, shape = problem.n_components, CovarianceShape.of(problem.structure.name)
    em = RowEM(Rows.of(problem, rng), objective, problem.smallest_scale)
    n_points, n_features = em.rows.z.shape
    cells = max(K, min(n_cells * K, n_points // (n_features + 2)))
    start = em.expect(em.maximise(merged_cells(rng, em.rows.z, em.rows.weights, K, cells, shape)))
    if np.isfinite(start.value):
        em.rows = em.rows.ordered_by(em.responsibilities(start))
    found = improve(em, em.advance(start, _FIRST_STEPS, tol=_LITTLE), rng, shape, tell)
    value = -np.inf if is_lost(found, shape) else found.value
    return value, _with_absent(found.mixture, len(objective.present))


class Move(NamedTuple):
    """A split paid for by a removal, and what both are expected to gain."""

    promise: float
    split: int
    removal: Removal

    @property
    def touched(self) -> set[int]:
        """Components that it changes."""
        return {self.split, self.removal.gone, self.removal.into} - {DELETED}


def improve(
    em: RowEM, state: State, rng: np.random.Generator, shape: CovarianceShape, tell: Callable[[float], None]
) -> State:
    """The state after moves, when none is accepted any more or the steps of a climb are spent."""
    limit, settled = em.n_steps + _MOST_STEPS + _STEPS_PER_COMPONENT * len(state.eta), False
    while em.n_steps < limit and np.isfinite(state.value):
        tell(state.value)
        held = em.responsibilities(state)
        halves = split_halves(em, held, rng, shape)
        moves = promising(halves, removals(em, held, shape))
        better = _together(em, state, rehearsed(em, held, halves, moves, shape), limit, shape)
        if better is not None:
            state, settled = better, False
        elif settled:
            break
        else:
            state, settled = em.advance(state, _SETTLING_STEPS, tol=_LITTLE), True
    return state


def _different(moves: list[Move]) -> list[Move]:
    """Each split with each removal once, the best first."""
    different = {(move.split, move.removal.gone): move for move in reversed(moves)}
    return sorted(different.values(), key=lambda move: -move.promise)


def rehearsed(
    em: RowEM, held: Responsibilities, halves: Halves, moves: list[Move], shape: CovarianceShape
) -> list[Rehearsal]:
    """Moves that gain when they are rehearsed and adapt different components, the best first."""
    before = held.state.moments
    overlap, left = overlaps(held), _REHEARSED * len(before.counts)
    worth, adapted = list[Rehearsal](), set[int]()
    for move in _different(moves):
        if left and adapted.isdisjoint(move.touched) and adapted.isdisjoint(near_by(overlap, move.touched)):
            left -= 1
            one = rehearse(em, held, overlap, moved(before, halves, [move]), move.touched)
            if one.gain - price_of(one.moments, before, shape) > _GAIN:
                worth.append(one)
                adapted.update(one.near)
    return sorted(worth, key=lambda one: -one.gain)


def _together(em: RowEM, state: State, batch: list[Rehearsal], limit: int, shape: CovarianceShape) -> State | None:
    """The state after the largest batch of moves that is accepted: all of them, their best quarter..."""
    if not batch:
        return None
    one_step = em.advance(state, 1)
    # Steps of EM gain less and less, so that most batches need not be compared with all of them.
    within_reach = _BATCH_STEPS * (one_step.value - state.value)
    without: State | None = None
    while batch and em.n_steps < limit:
        after = em.advance(em.expect(em.maximise(combined(state.moments, batch))), _BATCH_STEPS, tol=_LITTLE)
        gain = gained(after, state, shape)
        if gain > within_reach:
            return after
        if gain > 0:
            without = em.advance(one_step, _BATCH_STEPS - 1, tol=_LITTLE) if without is None else without
            if gained(after, without, shape) > 0:
                return after
        batch = batch[: len(batch) // 4]
    return None


def gained(after: State, before: State, shape: CovarianceShape) -> float:
    """What a state has gained, less what new components cost that look spurious; minus infinity where one is lost."""
    if is_lost(after, shape):
        return -np.inf
    return after.value - before.value - price_of(after.moments, before.moments, shape)


def is_lost(state: State, shape: CovarianceShape) -> bool:
    """Whether EM has lost a component, or left it too few points for a covariance."""
    fewest = shape.fewest_points(state.moments.means.shape[1])
    return not np.isfinite(state.value) or bool(state.moments.counts.min() < fewest)


def price_of(after: Moments, before: Moments, shape: CovarianceShape) -> float:
    """Nats charged for components that look spurious and were not there before.

    To be rid of some pays nothing: a genuine component on few points looks like them, the more so the more features
    there are.
    """
    price = shape.n_parameters(after.means.shape[1]) + np.log(after.counts.sum())
    more = looks_spurious(after, shape).sum() - looks_spurious(before, shape).sum()
    return float(price * max(more, 0))


def looks_spurious(found: Moments, shape: CovarianceShape) -> Bool[np.ndarray, " K"]:
    """Which components have few points and are narrow besides."""
    counts, means, covariances = found
    n_features, spurious = means.shape[1], np.zeros(len(counts), bool)
    enough = min(_POINTS_PER_PARAMETER * shape.n_parameters(n_features), _POINTS_PER_DIMENSION * (n_features + 1))
    few = np.flatnonzero(counts < enough)
    if few.size:
        within = np.einsum("k,kij->ij", counts, covariances) / counts.sum() + LEAST_VARIANCE * np.eye(n_features)
        whitening = np.linalg.inv(np.linalg.cholesky(within))
        spurious[few] = np.linalg.eigvalsh(whitening @ covariances[few] @ whitening.T)[:, 0] < _NARROW
    return spurious


def moved(found: Moments, halves: Halves, batch: list[Move]) -> Moments:
    """Moments after a batch of moves that touch different components."""
    after = Moments(*(np.array(part) for part in found))
    for _, split, (_, gone, into) in batch:
        if into != DELETED:
            for part, both in zip(after, pair_moments(found, np.array([into]), np.array([gone])), strict=True):
                part[into] = both[0]
        for part, half in zip(after, halves.moments, strict=True):
            part[[split, gone]] = half[split]
    return after


def promising(halves: Halves, removed: list[Removal]) -> list[Move]:
    """Each split with each removal that does not touch the same component, the best first."""
    losses, gone, into = (np.array(part) for part in zip(*removed, strict=True))
    splits = np.arange(len(halves.gains))[:, None]
    promises = halves.gains[:, None] - losses
    promises = np.where((splits == gone) | (splits == into), -np.inf, promises)
    best = np.argsort(-promises, axis=None, kind="stable")[: int((promises > _LEAST_PROMISE).sum())]
    pairs = zip(*np.unravel_index(best[: _MOVES * len(splits)], promises.shape), strict=True)
    return [Move(float(promises[split, one]), int(split), removed[one]) for split, one in pairs]


def combined(found: Moments, batch: list[Rehearsal]) -> Moments:
    """Moments after rehearsed moves that adapt different components."""
    after = Moments(*(np.array(part) for part in found))
    for one in batch:
        for part, new in zip(after, one.moments, strict=True):
            part[one.near] = new[one.near]
    return after
