"""Undo label switching: give each draw the labels under which it agrees best with a pivot."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from bayes_gmm.core.validation import one_of
from bayes_gmm.likelihood.draws_at_points import DrawsAtPoints, agreements, at_points, mean_shares
from bayes_gmm.likelihood.linear_form import Assignment, hard, soft
from bayes_gmm.mixture.mixture import Mixture

METHODS = ("responsibilities", "ecr", "stephens")

_POINTS_FOR_AGREEMENT = 10_000
_LEAST_SHARE = 0.5
_LEAST_GAP = 0.1
_LEAST_GAIN = 1e-10  # nats a point: what is above the rounding of sums of logarithms


class Relabelling(NamedTuple):
    """Permutations to hand to `Mixture.permute`, and how sure they are.

    Attributes
    ----------
    permutations : (..., K)
        Component k of the relabelled draw is component `permutations[..., k]` of the draw; `np.argsort` of them along
        the last axis undoes it.
    shares : (..., K)
        Part of the pivot's component k, in points, that the matched component of the draw holds too.
    gaps : (..., K)
        What the criterion loses at least when component k must be matched otherwise, per point of the pivot's
        component k: in points, or for "stephens" in nats. Infinite when there is no other component.
    """

    permutations: np.ndarray
    shares: np.ndarray
    gaps: np.ndarray = np.array(np.inf)

    @property
    def ambiguous(self) -> np.ndarray:
        """Fraction of draws (K,) whose match for component k holds less than half of its points: it is not the same."""
        return _rate(self.shares < _LEAST_SHARE)

    @property
    def tied(self) -> np.ndarray:
        """Fraction of draws (K,) in which another match for k is worse by a gap below 0.1: either could be meant."""
        return _rate(np.broadcast_to(self.gaps, self.shares.shape) < _LEAST_GAP)


def relabel(draws: Mixture, pivot: Mixture, x: np.ndarray, method: str = "responsibilities") -> Relabelling:
    r"""Permutation of each draw's components that agrees best with the labels of a pivot.

    .. math:: \rho_s = \arg\max_\rho \sum_k A_{s,k \rho(k)}, \qquad A_{s,jk} = \sum_n g_{nj} \, r^{(s)}_{nk}

    Parameters
    ----------
    draws
        Mixtures with leading axes, usually (chain, draw).
    pivot
        One mixture, whose labels the draws get.
    x : (N, D)
        Points; every so many of them when there are more than ten thousand.
    method
        "responsibilities": g and r are the responsibilities under the pivot and under the draw. "ecr": both are the
        most probable components, so that A counts points; overlaps show less. "stephens": g is the logarithm of the
        mean of the relabelled r over all draws, so that A is, up to what no label changes, minus the Kullback-Leibler
        divergence of that mean from r; the two alternate, starting at the permutations of "responsibilities", until
        none changes.

    Raises
    ------
    ArgumentError
        When there is no such method.

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
    points = x[:: -(-len(x) // _POINTS_FOR_AGREEMENT)]
    reference, assignment = _reference(pivot, points, method)
    flat = at_points(draws, points)
    criterion = agreement = agreements(flat, reference, assignment)
    permutations = _best_permutations(agreement)
    if method == "stephens":
        *_, (permutations, criterion) = _stephens(flat, permutations)
    sizes, shape = reference.sum(0), draws.log_weights.shape
    shares = _per_point(_matched(agreement, permutations), sizes)
    gaps = _per_point(_losses(criterion, permutations), sizes)
    return Relabelling(*(array.reshape(shape) for array in (permutations, shares, gaps)))


def match(mixture: Mixture, pivot: Mixture, x: np.ndarray) -> np.ndarray:
    """Permutation (K,) of one mixture's components under which its responsibilities agree best with the pivot's."""
    agreement = pivot.responsibilities(x).T @ mixture.responsibilities(x)
    return _best_permutations(agreement[None])[0]


def check_method(method: str) -> None:
    """Refuse a method that there is not."""
    one_of("relabelling", method, METHODS, 'The default is "responsibilities".')


def _reference(pivot: Mixture, points: np.ndarray, method: str) -> tuple[np.ndarray, Assignment]:
    """The pivot's assignment of the points (N, K), and the kind of the draws' that it is compared with."""
    if method == "ecr":
        return np.eye(pivot.n_components)[pivot.predict(points)], hard
    return pivot.responsibilities(points), soft


def _stephens(draws: DrawsAtPoints, permutations: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Permutations (S, K) and the criterion (S, K, K) that their mean shares define, better at every step."""
    changed = True
    while changed:
        # A zero, where every draw underflows, is as good as the smallest number; its logarithm is finite.
        mean = np.maximum(mean_shares(draws, permutations), np.finfo(float).tiny)
        criterion = agreements(draws, np.log(mean))
        yield permutations, criterion
        better = _best_permutations(criterion)
        gains = (_matched(criterion, better) - _matched(criterion, permutations)).sum(-1)
        gained = gains > _LEAST_GAIN * draws.n_points
        changed = bool(gained.any())
        permutations = np.where(gained[:, None], better, permutations)


def _best_permutations(agreement: np.ndarray) -> np.ndarray:
    """Columns (S, K), one for each row, of the largest sum in each matrix (S, K, K)."""
    return np.array([linear_sum_assignment(matrix, maximize=True)[1] for matrix in agreement])


def _matched(agreement: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    return np.take_along_axis(agreement, permutations[..., None], -1)[..., 0]


def _losses(criterion: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    """How far the sum falls at least (S, K) when row k of the best assignment gets another column.

    Another assignment passes the columns round in cycles, so the answer is the shortest cycle through k (Floyd and
    Warshall). The best assignment leaves no cycle below zero.
    """
    ordered = np.take_along_axis(criterion, permutations[:, None, :], -1)
    rows = np.arange(ordered.shape[-1])
    paths = ordered[:, rows, rows, None] - ordered
    paths[:, rows, rows] = np.inf
    for via in rows:
        paths = np.minimum(paths, paths[:, :, via, None] + paths[:, None, via, :])
    return np.maximum(paths[:, rows, rows], 0.0)


def _per_point(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Sums (S, K) for each point of a component; zero for a component of no points, which nothing can match."""
    return np.divide(sums, sizes, out=np.zeros_like(sums), where=sizes > 0)


def _rate(doubtful: np.ndarray) -> np.ndarray:
    return doubtful.reshape(-1, doubtful.shape[-1]).mean(0)
