"""Where EM begins: many random mixtures of several kinds, or one that the user gives.

Everything here is in unit coordinates (`scaling`). A start is given by counts, means and covariances, of which the
objective's own M-step makes a mixture, so that structure, fixed parameters and prior are those of the fit. The random
choices are made in NumPy, since nothing in them is worth compiling.
"""

from dataclasses import replace
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.core.linalg import diagonal_matrices, squared_distances
from bayes_gmm.core.validation import any_array
from bayes_gmm.errors import ArgumentError
from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.nearest_donors import unit_points_without_gaps

_SEEDING_POINTS = 4096
"""Random points on which starts are grown: more would not change where components begin."""

_PARENTS = 3
"""Number of the best distinct maxima whose components are split."""

_SPLIT = 0.8
"""Distance of the halves of a split component from its centre, in its own standard deviations along the split."""

_NOISE = 0.05
"""Weight with which noise starts: a large one takes the place of clusters that have not found their points yet."""

_KINDS = "a Mixture, labels (N,) or responsibilities (N, K)"


def usual_number_of_starts(problem: Problem) -> int:
    """Default number of starts: many where a run of EM costs little."""
    n_points = problem.table.n_points
    return 128 if n_points <= 2000 else 32 if n_points <= 10_000 else 20


def starting_mixtures(problem: Problem, objective: Objective, start: Any, n_starts: int, seed: int) -> Mixture:
    """Mixtures (R,) to begin from, in unit coordinates: the one that the user gives, or random ones.

    Raises
    ------
    ArgumentError
        When the start does not fit the problem.
    """
    if isinstance(start, Mixture):
        given = replace(_given_mixture(problem, start), degrees_of_freedom=_one_set(objective.degrees_of_freedom))
        return given if objective.fixed is None else objective.fixed.impose(given)
    if start is not None:
        return start_from(start, problem, objective)
    if np.isin(np.arange(problem.n_components), problem.labels).all():
        return start_from_known(problem, objective)
    return random_starts(seed, problem, n_starts, objective)


def _given_mixture(problem: Problem, start: Mixture) -> Mixture:
    shape = (problem.n_components, problem.table.n_features)
    if start.noise is not None and problem.noise is None:
        raise ArgumentError("The starting mixture has noise.", "noise= beside it", "Give noise=True to fit it as well.")
    if np.shape(start.means) != shape:
        raise ArgumentError(
            f"The starting mixture has means of shape {np.shape(start.means)}.",
            f"{shape}, components by features",
            "Build it by Mixture.from_moments with one mean for each component.",
        )
    if not all(np.isfinite(leaf).all() for leaf in (start.means, start.scale_tril, np.exp(start.log_weights))):
        raise ArgumentError(
            "The starting mixture holds NaN or infinity.",
            "one mixture of finite numbers",
            "It may be of a fit that collapsed; Mixture.from_moments refuses such numbers.",
        )
    unit = jax.tree.map(lambda leaf: np.asarray(leaf)[None], problem.scaling.to_unit(_with_noise_of(problem, start)))
    if not problem.needs_no_products:
        return unit
    scales = np.sqrt((unit.scale_tril**2).sum(-1))  # of a start with correlations the variances are what counts
    return replace(unit, scale_tril=diagonal_matrices(scales))


def _with_noise_of(problem: Problem, start: Mixture) -> Mixture:
    """The start with the box of the problem, and a little noise where it has none of its own."""
    if problem.noise is None:
        return start
    log_noise = np.log(_NOISE) if start.noise is None else start.noise.log_weight
    if problem.fixed is not None and problem.fixed.log_noise is not None:
        log_noise = problem.fixed.log_noise
    left = np.log1p(-np.exp(log_noise)) - np.logaddexp.reduce(start.log_weights)
    noise = problem.noise.with_log_weight(np.float64(log_noise))
    return replace(start, log_weights=start.log_weights + left, noise=noise)


def _one_set(degrees: Any) -> Any:
    return None if degrees is None else np.asarray(degrees)[None]


def random_starts(seed: int, problem: Problem, n_starts: int, objective: Objective) -> Mixture:
    """Mixtures (R,) grown on a random subset of the points, by turns in three ways.

    Clusters around k-means++ centres, with covariances shrunk towards that within all clusters (every other one); wide
    components at k-means++ centres; and components of random widths at random points.

    References
    ----------
    Arthur and Vassilvitskii (2007), k-means++: the advantages of careful seeding, SODA, 1027-1035; comparison of
    starts: Biernacki, Celeux and Govaert (2003), doi 10.1016/S0167-9473(02)00163-9.
    """
    rng = np.random.default_rng(seed)
    points, weights = _subset(rng, problem)
    kinds = np.array(["clusters", "wide", "clusters", "anywhere"])[np.arange(n_starts) % 4]
    anchored, known = _anchors(problem)
    anywhere = kinds == "anywhere"
    centers = _plus_plus(rng, points, weights, evenly=anywhere, anchored=anchored, centers=known)
    widths = np.where(anywhere, 0.1 ** rng.random((problem.n_components, n_starts)), 1.0).T
    grown, clusters = _spread(centers, widths, points, weights), kinds == "clusters"
    for every, own in zip(grown, _shrunk(_clusters(centers[clusters], points, weights)), strict=True):
        every[clusters] = own
    return _maximise(grown, objective)


def split_starts(
    seed: tuple[int, int],
    found: Mixture,
    values: Float[np.ndarray, " S"],
    n_starts: int,
    problem: Problem,
    objective: Objective,
) -> Mixture:
    """Mixtures (R,) near the best of those found (S,), each with one component moved to where it splits another.

    A component taken at random is placed so that it halves another, taken with probability proportional to its weight,
    along a random direction. What a local maximum lacks is most often a component elsewhere.

    References
    ----------
    Ueda, Nakano, Ghahramani and Hinton (2000), split and merge EM, doi 10.1162/089976600300015088.
    """
    rng = np.random.default_rng(seed)
    parents = [jax.tree.map(itemgetter(i), found).first(problem.n_components) for i in _best_distinct(values)]
    moved = [_split(rng, parents[i % len(parents)]) for i in range(n_starts)]
    weights, means, covariances = map(np.stack, zip(*moved, strict=True))
    return _maximise(Moments(weights * problem.sample_weight.sum(), means, covariances), objective)


def _best_distinct(values: np.ndarray) -> list[int]:
    """Numbers of at most three values, highest first, that are not the same maximum."""
    best: list[int] = []
    for number in np.argsort(-values, kind="stable"):
        if np.isfinite(values[number]) and all(values[other] - values[number] > 1e-4 for other in best):
            best.append(int(number))
    return best[:_PARENTS]


def _split(rng: np.random.Generator, parent: Mixture) -> Moments:
    """Moments of a total count of one, with one component of the parent moved to where it splits another."""
    weights, means, covariances = np.exp(parent.log_weights), parent.means.copy(), np.array(parent.scatters)
    moved = int(rng.integers(len(weights)))
    chances = np.where(np.arange(len(weights)) == moved, 0.0, weights)
    halved = int(rng.choice(len(weights), p=chances / chances.sum()))
    direction = rng.normal(size=means.shape[1])
    axis = parent.scale_tril[halved] @ (direction / np.linalg.norm(direction))
    center = means[halved].copy()
    means[moved], means[halved] = center + _SPLIT * axis, center - _SPLIT * axis
    covariances[halved] -= 0.9 * _SPLIT**2 * np.outer(axis, axis)
    covariances[moved] = covariances[halved]
    weights[moved] = weights[halved] = weights[halved] / 2
    return Moments(weights / weights.sum(), means, covariances)


def start_from(start: Any, problem: Problem, objective: Objective) -> Mixture:
    """One mixture (1,) from labels (N,) or responsibilities (N, K); with noise those of -1 belong to no component."""
    z = unit_points_without_gaps(problem)
    given = any_array("The start", start, _KINDS, "Of a fit give its .mixture; leave start out for random mixtures.")
    kept = problem.table.of_kept_rows(given)
    shares = _responsibilities(kept, len(z), problem.n_components, with_noise=problem.noise is not None)
    mixture = _maximise(_one(_moments(shares * problem.sample_weight[:, None], z)), objective)
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(mixture)):
        raise ArgumentError(
            "A component of the start has too few points to have a covariance.",
            f"at least {z.shape[1] + 1} points in general position for each component",
            "Merge that component with another, or start from responsibilities or a Mixture.",
        )
    return mixture


def start_from_known(problem: Problem, objective: Objective) -> Mixture:
    """One mixture (1,) from the points with known labels, shrunk as random starts are."""
    return _maximise(_one(_shrunk(_known_moments(problem))), objective)


def _one(moments: Moments) -> Moments:
    return Moments(*(array[None] for array in moments))


def _maximise(moments: Moments, objective: Objective) -> Mixture:
    """Mixtures (R,) of moments, with absent components where the objective has room for more, and a little noise."""
    statistics = objective.data.statistics(moments)
    absent = objective.n_slots - statistics.shape[1]
    statistics = np.pad(statistics, ((0, 0), (0, absent), (0, 0)))
    if objective.noise is not None:
        of_noise = np.zeros_like(statistics[:, :1])
        of_noise[:, 0, 0] = statistics[..., 0].sum(1) * _NOISE / (1 - _NOISE)
        statistics = np.concatenate([statistics, of_noise], 1)
    if objective.needs_compiling:
        return _maximise_all(statistics, objective.without_data())
    with np.errstate(divide="ignore", invalid="ignore"):  # a component without points has no mean
        return objective.maximise(statistics)


@jax.jit
def _maximise_all(statistics: Float[Array, "R K F"], objective: Objective) -> Mixture:
    return jax.vmap(objective.maximise)(statistics)


def _anchors(problem: Problem) -> tuple[Bool[Any, " K"], Float[Any, "K D"]]:
    """Which centres (K,) are known beforehand, from fixed means or labelled points, and where (K, D) they are."""
    known = _known_moments(problem)
    anchored, centers = known.counts > 0, known.means
    if problem.fixed is None:
        return anchored, centers
    held, values = problem.fixed.means, problem.fixed.in_unit_coordinates(problem.scaling).values
    return anchored | held, np.where(held[:, None], values.means, centers)


def _known_moments(problem: Problem) -> Moments:
    known = np.flatnonzero(problem.labels >= 0)
    shares = np.eye(problem.n_components)[problem.labels[known]] * problem.sample_weight[known, None]
    return _moments(shares, unit_points_without_gaps(problem, known))


def _subset(rng: np.random.Generator, problem: Problem) -> tuple[Float[np.ndarray, "S D"], Float[np.ndarray, " S"]]:
    """Points (S, D) of positive weight in unit coordinates, and their weights (S,)."""
    chosen = np.flatnonzero(problem.sample_weight)
    weights = problem.sample_weight[chosen]
    if len(chosen) > _SEEDING_POINTS:
        chosen = rng.choice(chosen, _SEEDING_POINTS, replace=False, p=weights / weights.sum())
        weights = np.ones(len(chosen))
    return unit_points_without_gaps(problem, chosen), weights


def _plus_plus(
    rng: np.random.Generator,
    points: Float[np.ndarray, "S D"],
    weights: Float[np.ndarray, " S"],
    *,
    evenly: Bool[np.ndarray, " R"],
    anchored: Bool[np.ndarray, " K"],
    centers: Float[np.ndarray, "K D"],
) -> Float[np.ndarray, "R K D"]:
    """Sets of centres (R, K, D), chosen one by one with probability proportional to squared distance to the others.

    The sets in which `evenly` is true are chosen without regard to distance; the components that are `anchored` keep
    the centres that are given.
    """
    sets = np.tile(centers, (len(evenly), 1, 1))
    nearest = squared_distances(points, centers[anchored]).min(1, initial=np.inf)
    distances = np.tile(nearest, (len(evenly), 1))
    for k in np.flatnonzero(~anchored):
        chances = weights * np.where(evenly[:, None] | np.isinf(distances), 1.0, distances)
        # Where every point is a centre already, the choice falls by weight alone.
        cumulative = np.cumsum(np.where(chances.sum(1, keepdims=True) > 0, chances, weights), 1)
        chosen = (cumulative <= rng.random((len(evenly), 1)) * cumulative[:, -1:]).sum(1)
        sets[:, k] = points[chosen]
        distances = np.minimum(distances, squared_distances(sets[:, k], points))
    return sets


def _moments(shares: Float[np.ndarray, "*batch N K"], points: Float[np.ndarray, "N D"]) -> Moments:
    """Moments of points (N, D) of which each component has a share (..., N, K); zeros where it has none."""
    counts = shares.sum(-2)
    portions = (shares / np.where(counts > 0, counts, 1.0)[..., None, :]).mT
    means = portions @ points
    covariances = np.empty((*means.shape, means.shape[-1]))
    for k in range(means.shape[-2]):
        offsets = points - means[..., k, None, :]
        covariances[..., k, :, :] = (portions[..., k, :, None] * offsets).mT @ offsets
    return Moments(counts, means, covariances)


def _clusters(
    centers: Float[np.ndarray, "*batch K D"], points: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]
) -> Moments:
    """Moments of the points nearest to each centre."""
    *batch, n_components, n_features = centers.shape
    distances = squared_distances(centers.reshape(-1, n_features), points)
    nearest = distances.reshape(*batch, n_components, -1).argmin(-2)
    return _moments(np.eye(n_components)[nearest] * weights[:, None], points)


def _shrunk(moments: Moments) -> Moments:
    """Moments with each covariance mixed with D + 2 points of the covariance within all clusters."""
    counts, means, covariances = moments
    pooled = means.shape[-1] + 2.0
    scatters = counts[..., None, None] * covariances
    within = scatters.sum(-3, keepdims=True) / counts.sum(-1)[..., None, None, None]
    return Moments(counts, means, (scatters + pooled * within) / (counts + pooled)[..., None, None])


def _spread(
    centers: Float[np.ndarray, "R K D"],
    widths: Float[np.ndarray, "R K"],
    points: Float[np.ndarray, "N D"],
    weights: Float[np.ndarray, " N"],
) -> Moments:
    """Equally heavy components, each as wide as K of them fit into the data side by side, times a width (R, K)."""
    n_components, n_features = centers.shape[1:]
    (count,), _, covariances = _moments(weights[:, None], points)
    squares = (widths * n_components ** (-1 / n_features)) ** 2
    return Moments(np.full(widths.shape, count / n_components), centers, squares[:, :, None, None] * covariances)


def _responsibilities(start: np.ndarray, n_points: int, n_components: int, *, with_noise: bool) -> np.ndarray:
    """Shares (N, K) of a start; with noise labels may be -1, and shares sum to less than one."""
    if start.shape == (n_points,) and np.issubdtype(start.dtype, np.integer):
        return _one_hot(start, n_components, with_noise=with_noise)
    if start.shape == (n_points, n_components) and start.dtype.kind in "iuf":
        total = start.sum(1)
        is_whole = np.allclose(total, 1) or (with_noise and (total < 1 + 1e-6).all())
        if np.isfinite(start).all() and (start >= 0).all() and is_whole:
            return start.astype(np.float64)
    raise ArgumentError(
        f"The start has shape {start.shape} and type {start.dtype}{_sums(start)}.",
        f"a Mixture, {n_points} integer labels, or responsibilities of shape ({n_points}, {n_components}) "
        "whose rows sum to one",
        "Leave start out to begin from n_starts random mixtures.",
    )


def _sums(start: np.ndarray) -> str:
    """Words on the first row that is no distribution; none where the array has no rows of numbers."""
    if start.ndim != 2 or start.dtype.kind not in "iuf":
        return ""
    row = int(np.argmax(~(np.isclose(start.sum(1), 1) & (start >= 0).all(1))))
    return f", and row {row} is {start[row].tolist()} with sum {start[row].sum():g}"


def _one_hot(labels: Int[np.ndarray, " N"], n_components: int, *, with_noise: bool) -> np.ndarray:
    present = np.unique(labels[labels != -1] if with_noise else labels)
    if not np.array_equal(present, np.arange(n_components)):
        raise ArgumentError(
            f"The labels of the start are {present.tolist()}.",
            f"each of 0 to {n_components - 1} at least once",
            "Number the groups from 0, one for each component.",
        )
    return np.eye(n_components + 1)[labels, :n_components]
