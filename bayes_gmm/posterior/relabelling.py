"""Label switching undone: each draw gets the labels under which it agrees best with a pivot, one fixed mixture."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.core.validation import one_of
from bayes_gmm.likelihood.draws_at_points import DrawsAtPoints, agreements, at_points, mean_shares
from bayes_gmm.likelihood.linear_form import Assignment, hard, soft
from bayes_gmm.likelihood.true_rows import responsibilities_with_errors
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import most_probable

METHODS = ("responsibilities", "ecr", "stephens")

_POINTS_FOR_AGREEMENT = 10_000
"""Points that are compared at most: with this many, sampling errors of the sums are about one percent of them."""

_LEAST_SHARE = 0.5
"""A component that shares less than half of the points of its match in the pivot is called ambiguous."""

_LEAST_GAP = 0.1
"""A match is called tied when another one is worse by less than this, in points or nats for each point."""

_LEAST_GAIN = 1e-10
"""Nats a point: a smaller gain of Stephens's criterion may be the rounding of sums of logarithms."""


class Relabelling(NamedTuple):
    """Permutations for `Mixture.permute`, and how certain each match of components is.

    Attributes
    ----------
    permutations : (..., K)
        Component k of the relabelled draw is component `permutations[..., k]` of the draw; `np.argsort` of them along
        the last axis undoes it.
    shares : (..., K)
        Share of the points of the pivot's component k that also belong to the matched component of the draw.
    gaps : (..., K)
        Smallest loss of the criterion when component k is matched to another component, for each point of the pivot's
        component k: in points, or for "stephens" in nats. Infinite when there is no other component.
    """

    permutations: Int[np.ndarray, "*batch K"]
    shares: Float[np.ndarray, "*batch K"]
    gaps: Float[np.ndarray, "..."] = np.array(np.inf)

    @property
    def ambiguous(self) -> Float[np.ndarray, " K"]:
        """Fraction of draws whose match for component k has less than half of its points, so is another component."""
        return _rate(self.shares < _LEAST_SHARE)

    @property
    def tied(self) -> Float[np.ndarray, " K"]:
        """Fraction of draws in which some other match for component k is worse by a gap below 0.1."""
        return _rate(np.broadcast_to(self.gaps, self.shares.shape) < _LEAST_GAP)


def relabel(
    draws: Mixture,
    pivot: Mixture,
    x: Float[np.ndarray, "N D"],
    method: str = "responsibilities",
    *,
    sample_weight: Float[np.ndarray, " N"] | None = None,
    errors: Float[np.ndarray, "N D D"] | None = None,
) -> Relabelling:
    r"""Permutation of each draw's components that agrees best with the labels of a pivot.

    .. math:: \rho_s = \arg\max_\rho \sum_k A_{s,k \rho(k)}, \qquad A_{s,jk} = \sum_n w_n \, g_{nj} \, r^{(s)}_{nk}

    Parameters
    ----------
    draws
        Mixtures with leading axes, usually (chain, draw).
    pivot
        One mixture, whose labels the draws get.
    x : (N, D)
        Points; of more than ten thousand, every second, third and so on, so that at most ten thousand are used.
    method
        "responsibilities": g and r are the responsibilities under the pivot and under the draw. "ecr": both are
        indicators of the most probable component, so that A counts points; overlaps show less. "stephens": g is the
        logarithm of the mean of the relabelled r over all draws, so that A is, up to a term that does not depend on the
        labels, minus the Kullback-Leibler divergence of that mean from r. Mean and permutations are updated in turn,
        starting at the permutations of "responsibilities", until no permutation changes.
    sample_weight : (N,)
        Weight w_n of each point in the sum, 1 where left out.
    errors
        Covariances of known errors of the points, where they have some.

    Raises
    ------
    ArgumentError
        When the method is none of these.

    References
    ----------
    ECR: Papastamoulis and Iliopoulos (2010), doi 10.1198/jcgs.2010.09008; Stephens (2000), doi
    10.1111/1467-9868.00265; both and others compared: Papastamoulis (2016), doi 10.18637/jss.v069.c01;
    the assignment problem: Crouse (2016), doi 10.1109/TAES.2016.140952 (scipy.optimize.linear_sum_assignment).

    Examples
    --------
    >>> pivot = Mixture.from_moments([0.5, 0.5], [[-3.0], [3.0]], [[[1.0]], [[1.0]]])
    >>> x, _ = pivot.sample(100, seed=0)
    >>> draws = Mixture.from_moments([[0.5, 0.5]] * 2, [[[-2.9], [3.1]], [[3.1], [-2.9]]], [[[[1.0]]] * 2] * 2)
    >>> relabel(draws, pivot, x).permutations
    array([[0, 1],
           [1, 0]])
    """
    check_method(method)
    every = -(-len(x) // _POINTS_FOR_AGREEMENT)
    points, weights = x[::every], 1.0 if sample_weight is None else sample_weight[::every, None]
    theirs = None if errors is None else errors[::every]
    reference, assignment = _reference(pivot, points, theirs, method)
    reference = weights * reference
    flat = at_points(draws, points, errors=theirs)
    criterion = agreement = agreements(flat, reference, assignment)
    permutations = _best_permutations(agreement)
    if method == "stephens":
        *_, (permutations, criterion) = _stephens(flat, permutations, weights)
    sizes, shape = reference.sum(0), draws.log_weights.shape
    shares = _per_point(_matched(agreement, permutations), sizes)
    gaps = _per_point(_losses(criterion, permutations), sizes)
    return Relabelling(*(array.reshape(shape) for array in (permutations, shares, gaps)))


def match(mixture: Mixture, pivot: Mixture, x: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " K"]:
    """Permutation of one mixture's components under which its responsibilities agree best with the pivot's."""
    agreement = pivot.responsibilities(x).T @ mixture.responsibilities(x)
    return _best_permutations(agreement[None])[0]


def check_method(method: str) -> None:
    """Raise `ArgumentError` when the method is none of `METHODS`."""
    one_of("relabelling", method, METHODS, 'The default is "responsibilities".')


class _Reference(NamedTuple):
    """Assignments of the points by the pivot, and the kind of assignment that is computed for the draws."""

    assignments: Float[np.ndarray, "N K"]
    kind: Assignment


def _reference(
    pivot: Mixture, points: Float[np.ndarray, "N D"], errors: Float[np.ndarray, "N D D"] | None, method: str
) -> _Reference:
    shares = pivot.responsibilities(points) if errors is None else responsibilities_with_errors(pivot, points, errors)
    if method == "ecr":
        K = pivot.n_components
        return _Reference(np.eye(K + 1)[most_probable(shares), :K], hard)  # noise, -1, belongs to no component
    return _Reference(shares, soft)


def _stephens(
    draws: DrawsAtPoints, permutations: Int[np.ndarray, "S K"], weights: Float[np.ndarray, "N 1"] | float = 1.0
) -> Iterator[tuple[Int[np.ndarray, "S K"], Float[np.ndarray, "S K K"]]]:
    """Permutations of every step, and the criterion that the mean responsibilities under them define."""
    changed = True
    while changed:
        # A mean of zero, where every draw underflows, becomes the smallest float, whose logarithm is finite.
        mean = np.maximum(mean_shares(draws, permutations), np.finfo(float).tiny)
        criterion = agreements(draws, weights * np.log(mean))
        yield permutations, criterion
        better = _best_permutations(criterion)
        gains = (_matched(criterion, better) - _matched(criterion, permutations)).sum(-1)
        gained = gains > _LEAST_GAIN * len(draws.points)
        changed = bool(gained.any())
        permutations = np.where(gained[:, None], better, permutations)


def _best_permutations(agreement: Float[np.ndarray, "S K K"]) -> Int[np.ndarray, "S K"]:
    """One column for each row of each matrix, such that their entries have the largest sum."""
    from scipy.optimize import linear_sum_assignment  # which takes a quarter of a second to load

    return np.array([linear_sum_assignment(matrix, maximize=True)[1] for matrix in agreement])


def _matched(agreement: Float[np.ndarray, "S K K"], permutations: Int[np.ndarray, "S K"]) -> Float[np.ndarray, "S K"]:
    """Entries of the matrices in the columns that the permutations assign to their rows."""
    return np.take_along_axis(agreement, permutations[..., None], -1)[..., 0]


def _losses(criterion: Float[np.ndarray, "S K K"], permutations: Int[np.ndarray, "S K"]) -> Float[np.ndarray, "S K"]:
    """Smallest decrease of the sum when row k of the best assignment must take another column.

    Any other assignment moves columns along cycles of rows, so this is the length of the shortest cycle through k,
    found by the algorithm of Floyd and Warshall. No cycle is negative, since the assignment is the best one.
    """
    ordered = np.take_along_axis(criterion, permutations[:, None, :], -1)
    rows = np.arange(ordered.shape[-1])
    paths = ordered[:, rows, rows, None] - ordered
    paths[:, rows, rows] = np.inf
    for via in rows:
        paths = np.minimum(paths, paths[:, :, via, None] + paths[:, None, via, :])
    return np.maximum(paths[:, rows, rows], 0.0)


def _per_point(sums: Float[np.ndarray, "S K"], sizes: Float[np.ndarray, " K"]) -> Float[np.ndarray, "S K"]:
    """Sums divided by the sizes of the components in points; zero for a component without points."""
    return np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0)


def _rate(doubtful: Bool[np.ndarray, "*batch K"]) -> Float[np.ndarray, " K"]:
    """Share of the draws of a batch for which each component is doubtful."""
    return doubtful.reshape(-1, doubtful.shape[-1]).mean(0)
