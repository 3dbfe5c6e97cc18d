"""The likelihood of rows whose every cell was seen, by the linear form: the first that keeps the contract."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float64

from bayes_gmm.core.tuning import TUNING
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.blocks import Blocks, blocks
from bayes_gmm.likelihood.contract import DiagonalCovariances, Likelihood
from bayes_gmm.likelihood.linear_form import Assignment, Expectation, Natural, soft
from bayes_gmm.mixture.scaling import Scaling


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class CompleteRows(Blocks, Likelihood):
    """Complete rows: their likelihood is `linear_form`, and the complete rows that it expects are the rows."""

    @property
    def n_features(self) -> int:
        """D, the number of columns of the table."""
        return int(self.points.shape[1])

    @property
    def total_weight(self) -> Any:
        """Sum of the weights of the rows."""
        return self.weights.sum()

    def log_volume(self, scaling: Scaling) -> Any:
        """The total weight times the log volume of a unit cube."""
        return self.weights.sum() * scaling.log_volume

    def expected_statistics(self, eta: Natural, assignment: Assignment = soft) -> Expectation:
        """E-step, in one pass."""
        return linear_form.expected_statistics(eta, self, assignment)

    def log_likelihood(self, eta: Natural) -> Float64[Array, ""]:
        """Marginal log-likelihood, whose gradient costs no second pass."""
        return linear_form.log_likelihood(eta, self)

    def curvature(self, eta: Natural) -> Float64[Array, "K F K F"]:
        """Hessian of the log-likelihood."""
        return linear_form.curvature(eta, self)

    def score_products(self, eta: Natural) -> Float64[Array, "KF KF"]:
        """Sum of the weighted products of the scores of the rows."""
        return linear_form.score_products(eta, self)

    def parts(self, count: int) -> "list[CompleteRows]":  # type: ignore[override]
        """These rows in `count` parts, or in as many as there are blocks if these are fewer."""
        return [replace(self, first=part.first, stop=part.stop) for part in super().parts(count)]

    def unvisited(self) -> "CompleteRows":
        """The same arrays, no block of which is visited."""
        return replace(self, stop=self.first)

    def in_blocks(self, row_weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R *blocks"]:
        """Other weights of the rows (R, N), laid out as the blocks are (R, M, B)."""
        padding = self.weights.size - row_weights.shape[1]
        return np.pad(row_weights, ((0, 0), (0, padding))).reshape(-1, *self.weights.shape)

    def with_weights(self, weights: Float[Array, "*blocks"]) -> "CompleteRows":
        """The same rows with other weights (M, B)."""
        return replace(self, weights=weights)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class DiagonalRows(DiagonalCovariances, CompleteRows):
    """Complete rows under components whose covariances are diagonal."""

    def milliseconds(self, n_components: int) -> float:
        """Rough time of a pass over the rows on one core."""
        n_features, size = self.points.shape[1:]
        nanoseconds = TUNING.nanoseconds + 4 * TUNING.nanoseconds_of_squares * n_features
        return 1e-6 * nanoseconds * n_components * size * int(self.stop - self.first)


def prepare(
    x: Float[np.ndarray, "N D"],
    sample_weight: Float[np.ndarray, " N"],
    scaling: Scaling | None = None,
    n_rows: int = 0,
    *,
    diagonal: bool = False,
) -> CompleteRows:
    """Rows (N, D), all cells of which were seen, in unit coordinates; `n_rows` as in `blocks`."""
    kind = DiagonalRows if diagonal else CompleteRows
    return kind(**vars(blocks(x, sample_weight, scaling, n_rows)))
