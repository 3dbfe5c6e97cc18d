"""EM on rows in NumPy: responsibilities are kept, which moves between components are scored by.

Everything is in unit coordinates (`scaling`). The E-step is the linear form of `likelihood/linear_form.py`, a matrix
product before the exponential and one after it; the M-step is that of the objective, so that structure, fixed
parameters and prior are respected. Nothing here is compiled for a number of rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from bayes_gmm.core.linalg import LOG_2PI, exponential
from bayes_gmm.core.row_products import cross_product, rows_product, weighted_sums
from bayes_gmm.likelihood.moments import Moments, features_of_rows, places_of_squares
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.nearest_donors import unit_points_without_gaps

_DENSITIES_AT_ONCE, _STATISTICS_AT_ONCE = 2**18, 2**20
"""Log joint densities, and sufficient statistics, of the rows of one matrix product: they stay in caches."""

_NO_SHARE = -40.0
"""Logarithm of a share below which it is nothing beside 1."""

_FEATURES_KEPT = 2**24
"""Largest number of sufficient statistics of rows that are kept in memory; of longer tables they are made anew."""

MOST_ROWS = 2**15
"""Rows on which moves are judged: of longer tables a random part."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows of positive weight in unit coordinates.

    Attributes
    ----------
    z : (N, D)
        Points.
    weights : (N,)
        Their weights.
    diagonal
        Whether covariances are diagonal, so that products of different features are not looked at.
    """

    z: Float[np.ndarray, "N D"]
    weights: Float[np.ndarray, " N"]
    diagonal: bool

    @classmethod
    def of(cls, problem: Problem, rng: np.random.Generator) -> "Rows":
        """All rows of a problem with their gaps closed, or a random part of them that weighs as much."""
        chosen, weights = np.flatnonzero(problem.sample_weight), problem.sample_weight
        if len(chosen) > MOST_ROWS:
            chosen = np.sort(rng.choice(chosen, MOST_ROWS, replace=False))
            weights = weights * (weights.sum() / weights[chosen].sum())
        z = unit_points_without_gaps(problem, chosen)
        diagonal = problem.structure.is_diagonal
        return cls(z=z, weights=weights[chosen], diagonal=diagonal)

    def ordered_by(self, held: "Responsibilities") -> "Rows":
        """Rows of one component after those of its neighbour, so that few components share rows side by side."""
        place = np.argsort(_chain_of_neighbours(held.state.mixture.means))
        order = np.argsort(place[held.shares.argmax(0)], kind="stable")
        return replace(self, z=self.z[order], weights=self.weights[order])

    @cached_property
    def _kept(self) -> Float[np.ndarray, "N F"] | None:
        n_points, n_features = self.z.shape
        size = n_features * (2 if self.diagonal else n_features)
        return None if n_points * size > _FEATURES_KEPT else features_of_rows(self.z, diagonal=self.diagonal)

    def features_of(self, rows: slice | Int[np.ndarray, " some"]) -> Float[np.ndarray, "some F"]:
        """Sufficient statistics of some of the rows."""
        return features_of_rows(self.z[rows], diagonal=self.diagonal) if self._kept is None else self._kept[rows]

    def parts(self, n_components: int) -> Iterator[slice]:
        """Slices that together are all rows, for a pass with so many components."""
        n_statistics = len(places_of_squares(self.z.shape[1], diagonal=self.diagonal)[0])
        size = max(min(_DENSITIES_AT_ONCE // n_components, _STATISTICS_AT_ONCE // n_statistics), 1)
        return (slice(start, start + size) for start in range(0, len(self.z), size))


def _chain_of_neighbours(means: Float[np.ndarray, "K D"]) -> Int[np.ndarray, " K"]:
    """Components one after another, each the nearest to the last one of those that are left."""
    chain, left = [0], np.arange(1, len(means))
    while left.size:
        nearest = ((means[left] - means[chain[-1]]) ** 2).sum(1).argmin()
        chain.append(int(left[nearest]))
        left = np.delete(left, nearest)
    return np.array(chain)


def natural(
    log_weights: Float[np.ndarray, "*batch"],
    means: Float[np.ndarray, "*batch D"],
    covariances: Float[np.ndarray, "*batch D D"],
    *,
    diagonal: bool,
) -> Float[np.ndarray, "*batch F"]:
    """Natural parameters of weighted Gaussians: their log density is the product with `features_of_rows`."""
    n_features = means.shape[-1]
    rows, columns = places_of_squares(n_features, diagonal=diagonal)
    if diagonal:
        variances = np.diagonal(covariances, axis1=-2, axis2=-1)
        linear, quadratic, log_determinant = means / variances, -0.5 / variances, np.log(variances).sum(-1)
    else:
        precision = np.linalg.inv(covariances)
        linear = (precision @ means[..., None])[..., 0]
        # An off-diagonal element of the precision appears twice in x' P x.
        quadratic = precision[..., rows, columns] * np.where(rows == columns, -0.5, -1.0)
        log_determinant = np.linalg.slogdet(covariances)[1]
    constant = log_weights - 0.5 * (log_determinant + n_features * LOG_2PI + (linear * means).sum(-1))
    return np.concatenate([constant[..., None], linear, quadratic], -1)


def moments(statistics: Float[np.ndarray, "*batch F"], n_features: int, *, diagonal: bool) -> Moments:
    """Counts, means and covariances that have these sums of `features_of_rows`."""
    counts = statistics[..., 0]
    portions = statistics[..., 1:] / np.maximum(counts, np.finfo(float).tiny)[..., None]
    means, squares = portions[..., :n_features], portions[..., n_features:]
    rows, columns = places_of_squares(n_features, diagonal=diagonal)
    covariances = np.zeros((*means.shape, n_features))
    covariances[..., rows, columns] = squares - means[..., rows] * means[..., columns]
    covariances[..., columns, rows] = covariances[..., rows, columns]
    return Moments(counts, means, covariances)


class State(NamedTuple):
    """A mixture and what the E-step finds at it.

    Attributes
    ----------
    mixture
        In unit coordinates, in NumPy.
    eta : (K, F)
        Its natural parameters.
    value
        The objective.
    moments
        Of the rows that each component is responsible for.
    """

    mixture: Mixture
    eta: Float[np.ndarray, "K F"]
    value: float
    moments: Moments


class Responsibilities(NamedTuple):
    """How a state shares the rows out among its components.

    Attributes
    ----------
    state
        The state.
    shares : (K, N)
        Share of each component in each row.
    log_density : (N,)
        Logarithm of the density of each row.
    """

    state: State
    shares: Float[np.ndarray, "K N"]
    log_density: Float[np.ndarray, " N"]


class _Part(NamedTuple):
    """Rows side by side and their features, the components that have a share in any of them, and these shares."""

    rows: slice
    phi: Float[np.ndarray, "B F"]
    components: Int[np.ndarray, " A"]
    shares: Float[np.ndarray, "A B"]
    log_density: Float[np.ndarray, " B"]


class RowEM:
    """EM on the rows of a problem, with its objective's own M-step; within a scope of float64.

    Attributes
    ----------
    rows
        The rows.
    n_steps
        Number of E-steps made so far.
    """

    def __init__(self, rows: Rows, objective: Objective, smallest_scale: float) -> None:
        self.rows, self.n_steps = rows, 0
        self._objective, self._smallest_scale = objective.without_data(), smallest_scale

    # Moments of a component that is lost are not finite, and neither is the mixture then.
    @np.errstate(divide="ignore", invalid="ignore", over="ignore")
    def maximise(self, found: Moments, near: Mixture | None = None) -> Mixture:
        """M-step, in NumPy; iterations of a structure begin at the mixture `near`."""
        absent = len(self._objective.present) - len(found.counts)
        statistics = np.pad(self._objective.data.statistics(found), ((0, absent), (0, 0)))
        if near is None or self._objective.structure.has_closed_form:
            near = None
        elif absent:
            near = jax.tree.map(lambda leaf: np.pad(leaf, [(0, absent)] + [(0, 0)] * (leaf.ndim - 1)), near)
        if self._objective.needs_compiling:
            maximised = jax.device_get(_maximise(statistics, self._objective, near))
        else:
            maximised = self._objective.maximise(statistics, near)
        return jax.tree.map(lambda leaf: leaf[: len(found.counts)], maximised)

    def expect(self, mixture: Mixture) -> State:
        """E-step at a mixture; its value is minus infinity where a component is lost or too narrow."""
        rows, n_features, n_components = self.rows, self.rows.z.shape[1], len(mixture.log_weights)
        self.n_steps += 1
        if not self.is_sound(mixture):
            nothing = Moments(np.zeros(n_components), mixture.means, mixture.scale_tril)
            return State(mixture, np.zeros((n_components, 1)), -np.inf, nothing)
        covariances = mixture.scale_tril @ mixture.scale_tril.mT
        eta = natural(mixture.log_weights, mixture.means, covariances, diagonal=rows.diagonal)
        value, statistics = float(self._objective.log_prior(mixture)), np.zeros_like(eta)
        for some, phi, components, shares, log_density in self._parts(eta):
            weights = rows.weights[some]
            value += float(weighted_sums(log_density, weights))
            statistics[components] += cross_product((shares * weights).T, phi)
        found = moments(statistics, n_features, diagonal=rows.diagonal)
        return State(mixture, eta, value if np.isfinite(value) else -np.inf, found)

    def responsibilities(self, state: State) -> Responsibilities:
        """Shares of the components in all rows, which most steps have no need to keep; of a state with a value."""
        n_points = len(self.rows.z)
        held = Responsibilities(state, np.zeros((len(state.eta), n_points)), np.empty(n_points))
        for some, _, components, shares, log_density in self._parts(state.eta):
            held.shares[components, some], held.log_density[some] = shares, log_density
        return held

    def _parts(self, eta: Float[np.ndarray, "K F"]) -> Iterator[_Part]:
        for some in self.rows.parts(len(eta)):
            phi = self.rows.features_of(some)
            logits = rows_product(eta, phi.T)
            components = np.flatnonzero((logits - logits.max(0)).max(1) > _NO_SHARE)
            shares = logits[components]
            log_density = normalise(shares)
            yield _Part(some, phi, components, shares, log_density)

    def advance(self, state: State, n_steps: int, tol: float = 0.0) -> State:
        """So many steps of EM, fewer where the objective gains no more than `tol` or a component is lost."""
        for _ in range(n_steps):
            if not np.isfinite(state.value):
                break
            further = self.expect(self.maximise(state.moments, near=state.mixture))
            if not further.value > state.value:
                break
            gain, state = further.value - state.value, further
            if gain <= tol:
                break
        return state

    def is_sound(self, mixture: Mixture) -> bool:
        """Whether no component is lost or too narrow."""
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(mixture)):
            return False
        narrowest = np.diagonal(mixture.scale_tril, axis1=1, axis2=2).min(initial=np.inf)
        if not narrowest > self._smallest_scale:
            return False
        return bool((1 / np.sqrt((np.linalg.inv(mixture.scale_tril) ** 2).sum((1, 2))) > self._smallest_scale).all())


def normalise(logits: Float[np.ndarray, "K B"]) -> Float[np.ndarray, " B"]:
    """Log densities of rows; their log joint densities become responsibilities, in place."""
    top = logits.max(0)
    exponential(np.subtract(logits, top, out=logits))
    density = logits.sum(0)
    logits /= density
    return top + np.log(density)


@jax.jit
def _maximise(statistics: Float[Array, "K F"], objective: Objective, near: Mixture | None) -> Mixture:
    return objective.maximise(statistics, near)
