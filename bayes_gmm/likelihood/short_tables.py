"""The likelihood of a short table in NumPy, for many mixtures at once: nothing has to be compiled first.

The contract is that of `complete_rows`, and so is the linear form, with every row's features kept. What is one mixture
there may be a batch of them here, by one matrix product.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from bayes_gmm.core.linalg import exponential
from bayes_gmm.core.row_products import rows_product, weighted_sums
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.contract import DiagonalCovariances, Likelihood
from bayes_gmm.likelihood.linear_form import Assignment, Expectation, soft
from bayes_gmm.likelihood.moments import features_of_rows
from bayes_gmm.mixture.scaling import Scaling

_FACTORS = 32
"""Densities in one product."""

_NUMBERS_AT_ONCE = 2**16
"""Log joint densities that are held at a time."""

_NANOSECONDS = 15.0
"""Rough time of a row and component."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShortTable(Likelihood):
    """Complete rows in unit coordinates, in NumPy.

    Attributes
    ----------
    points : (N, D)
        The rows.
    weights : (N,)
        Their weights.
    """

    points: Float[np.ndarray, "N D"]
    weights: Float[np.ndarray, " N"]

    @property
    def n_features(self) -> int:
        """D, the number of columns of the table."""
        return self.points.shape[1]

    @property
    def total_weight(self) -> Any:
        """Sum of the weights of the rows."""
        return self.weights.sum()

    def log_volume(self, scaling: Scaling) -> Any:
        """The total weight times the log volume of a unit cube."""
        return self.weights.sum() * scaling.log_volume

    @cached_property
    def _features(self) -> Float[np.ndarray, "N F"]:
        """Sufficient statistics phi(x) = [1, x, vech(x x')] of each row."""
        return features_of_rows(self.points, diagonal=self.diagonal)

    def expected_statistics(self, eta: Float[np.ndarray, "*batch K F"], assignment: Assignment = soft) -> Expectation:  # type: ignore[override]
        """E-step of each mixture, of as many at a time as fit the processor's cache."""
        at_once = max(1, _NUMBERS_AT_ONCE // (eta.shape[-2] * len(self.points) + 1))
        if eta.ndim > 2 and len(eta) > at_once:
            some = [
                self.expected_statistics(part, assignment) for part in np.split(eta, range(at_once, len(eta), at_once))
            ]
            return Expectation(*(np.concatenate(parts) for parts in zip(*some, strict=True)))
        phi = self._features
        joint = rows_product(eta.reshape(-1, eta.shape[-1]), phi.T).reshape(*eta.shape[:-1], len(phi))
        top = joint.max(-2)
        if assignment is linear_form.hard:
            shares = (joint.argmax(-2)[..., None, :] == np.arange(eta.shape[-2])[:, None]) * self.weights
            return Expectation(weighted_sums(top, self.weights), self._sums(shares))
        exponential(np.subtract(joint, top[..., None, :], out=joint))
        density = joint.sum(-2)
        value = weighted_sums(top, self.weights) + self._sums_of_logs(density)
        joint *= (self.weights / density)[..., None, :]
        return Expectation(value, self._sums(joint))

    def _sums_of_logs(self, densities: Float[np.ndarray, "*batch N"]) -> Any:
        """Weighted sums of logarithms of numbers from 1 to K; where no row has a weight, of products of a few of them.

        NumPy's logarithm takes as long as ten exponentials, and a product of that many numbers does not overflow.
        """
        if not self._is_unweighted:
            return weighted_sums(np.log(densities), self.weights)
        n_products = densities.shape[-1] // _FACTORS
        factors, rest = np.split(densities, [n_products * _FACTORS], -1)
        products = factors.reshape(*densities.shape[:-1], _FACTORS, n_products).prod(-2)
        return np.log(products).sum(-1) + np.log(rest).sum(-1)

    @cached_property
    def _is_unweighted(self) -> bool:
        return bool((self.weights == 1).all())

    def _sums(self, shares: Float[np.ndarray, "*batch K N"]) -> Float[np.ndarray, "*batch K F"]:
        """Statistics of the rows of which each component has these weighted shares."""
        sums = rows_product(shares.reshape(-1, shares.shape[-1]), self._features)
        return sums.reshape(*shares.shape[:-1], -1)

    def log_likelihood(self, eta: Float[np.ndarray, "*batch K F"]) -> Any:  # type: ignore[override]
        """Marginal log-likelihood of each mixture; its gradient is the expected statistics."""
        return self.expected_statistics(eta).value

    def _scores(self, eta: Float[np.ndarray, "K F"]) -> tuple[np.ndarray, np.ndarray]:
        """Responsibilities (N, K), and scores r_nk phi(x_n) of the rows (N, K F)."""
        joint = self._features @ eta.T
        joint = np.exp(joint - joint.max(1, keepdims=True))
        shares = joint / joint.sum(1, keepdims=True)
        return shares, (shares[:, :, None] * self._features[:, None]).reshape(len(shares), -1)

    def curvature(self, eta: Float[np.ndarray, "K F"]) -> Float[np.ndarray, "K F K F"]:  # type: ignore[override]
        """Hessian of the log-likelihood: sum_n w_n (r_nk [k = l] - r_nk r_nl) phi(x_n) phi(x_n)'."""
        shares, scores = self._scores(eta)
        total = -((scores * self.weights[:, None]).T @ scores).reshape(*eta.shape, *eta.shape)
        for k, share in enumerate((shares * self.weights[:, None]).T):
            total[k, :, k] += (self._features * share[:, None]).T @ self._features
        return total

    def score_products(self, eta: Float[np.ndarray, "K F"]) -> Float[np.ndarray, "KF KF"]:  # type: ignore[override]
        """Sum of the weighted products of the scores of the rows."""
        scores = self._scores(eta)[1]
        return (scores * self.weights[:, None]).T @ scores

    def milliseconds(self, n_components: int) -> float:
        """Rough time of a pass over the rows."""
        return 1e-6 * _NANOSECONDS * n_components * len(self.points)

    def parts(self, count: int) -> "Sequence[ShortTable]":
        """The rows undivided: one core is enough for them."""
        return [self]

    def unvisited(self) -> "ShortTable":
        """No rows: there is no program to compile."""
        return replace(self, points=self.points[:0], weights=self.weights[:0])

    def without_rows(self) -> "ShortTable":
        """No rows."""
        return self.unvisited()

    def in_blocks(self, row_weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R N"]:
        """Other weights of the rows, as they are."""
        return row_weights

    def with_weights(self, weights: Float[np.ndarray, " N"]) -> "ShortTable":  # type: ignore[override]
        """The same rows with other weights."""
        return replace(self, weights=weights)


class ShortDiagonalTable(DiagonalCovariances, ShortTable):
    """A short table under components whose covariances are diagonal."""


def prepare(
    x: Float[np.ndarray, "N D"],
    sample_weight: Float[np.ndarray, " N"],
    scaling: Scaling | None = None,
    *,
    diagonal: bool = False,
) -> ShortTable:
    """Rows (N, D), all cells of which were seen, in unit coordinates."""
    kind = ShortDiagonalTable if diagonal else ShortTable
    return kind(points=x if scaling is None else scaling.points_to_unit(x), weights=sample_weight)
