r"""What the package asks of the likelihood of rows, whatever the rows are: the contract of every likelihood.

A likelihood is a pytree: rows of a table, prepared once, in unit coordinates. Everything that fits mixtures asks it the
same few questions, all of them sums over rows, in the natural parameters eta (K, F) of the components' complete rows.
With the log joint density of row and label

.. math:: f_{nk}(\eta_k) = \log p(o_n, z_n = k) = \log \int e^{\eta_k^\top \phi(x)} \, p(o_n \mid x) \, dx

of what was observed, o, whether that is x itself, some of its cells, or x with an error, Fisher's identity says

.. math:: \ell(\eta) = \sum_n w_n \log \sum_k e^{f_{nk}}, \qquad
          \frac{\partial \ell}{\partial \eta_k} = \sum_n w_n r_{nk} \, E[\phi(x) \mid o_n, z_n = k],

so that the gradient is always the expected statistics of complete rows, and one M-step, one acceleration and one set
of standard errors serve all likelihoods. Uniform noise is one more row of eta, after the components, whose only entry
that is not zero is the constant log weight less log volume; so K below counts it where there is noise. Heavy-tailed
rows are complete with a precision of their own, which adds two statistics to those of a Gaussian (`heavy_tails`).

References
----------
Fisher's identity and missing information: Orchard and Woodbury (1972), doi 10.1525/9780520325883-036; Dempster, Laird
and Rubin (1977), doi 10.1111/j.2517-6161.1977.tb01600.x.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Array, Float, Float64

from bayes_gmm.likelihood.linear_form import Assignment, Expectation, Natural, diagonal_natural, natural, soft
from bayes_gmm.likelihood.moments import Moments, moments_of, n_statistics, statistics_of
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


class Likelihood(ABC):
    """Weighted rows in unit coordinates, and what they say of a mixture.

    An implementation is a frozen dataclass and a pytree, made by a function `prepare` of its file from rows, their
    weights and a `Scaling`. Weights multiply, and values and statistics of parts of the rows add.
    """

    diagonal: ClassVar[bool] = False
    """Whether it knows diagonal covariances alone (`DiagonalCovariances`)."""

    @property
    @abstractmethod
    def n_features(self) -> int:
        """D, the number of columns of the table."""

    @property
    @abstractmethod
    def total_weight(self) -> Any:
        """Sum of the weights of the rows."""

    @abstractmethod
    def log_volume(self, scaling: Scaling) -> Any:
        """By how much the log-likelihood in the unit coordinates of `scaling` exceeds that in data units."""

    @abstractmethod
    def expected_statistics(self, eta: Natural, assignment: Assignment = soft) -> Expectation:
        """E-step: the log-likelihood and sum_n w_n r_nk E[phi(x) | o_n, k], in one pass."""

    @abstractmethod
    def log_likelihood(self, eta: Natural) -> Float64[Array, ""]:
        """Marginal log-likelihood, whose gradient in eta is the expected statistics and costs no second pass."""

    @abstractmethod
    def curvature(self, eta: Natural) -> Float64[Array, "K F K F"]:
        """Hessian of the log-likelihood in eta."""

    @abstractmethod
    def score_products(self, eta: Natural) -> Float64[Array, "KF KF"]:
        """Sum of w_n s_n s_n' over the rows, where s_n = r_nk E[phi(x) | o_n, k] is the score of a row in eta."""

    @abstractmethod
    def milliseconds(self, n_components: int) -> float:
        """Rough time of a pass over the rows on one core."""

    @abstractmethod
    def parts(self, count: int) -> "Sequence[Likelihood]":
        """These rows in at most `count` parts, for as many threads."""

    @abstractmethod
    def unvisited(self) -> "Likelihood":
        """The same arrays, no row of which a pass looks at: what compiles the program of a pass at no cost."""

    def without_rows(self) -> "Likelihood":
        """No rows, of the same kind."""
        return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype) if leaf.ndim else leaf, self)

    @abstractmethod
    def in_blocks(self, row_weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R *blocks"]:
        """Other weights of the rows (R, N), in the order of the table, as `with_weights` takes them."""

    @abstractmethod
    def with_weights(self, weights: Float[Array, "*blocks"]) -> "Likelihood":
        """The same rows with other weights, one of the sets that `in_blocks` makes."""

    def expected_at(self, mixture: Mixture, assignment: Assignment = soft) -> Expectation:
        """`expected_statistics` at the natural parameters of a mixture."""
        return self.expected_statistics(self.natural(mixture), assignment)

    def natural(self, mixture: Mixture) -> Float[Array | np.ndarray, "*batch K F"]:
        """Natural parameters (K, F) of a mixture's complete rows."""
        return natural(mixture)

    def moments(self, statistics: Float[Array | np.ndarray, "*batch K F"]) -> Moments:
        """Counts, means and covariances of the complete rows that each component is responsible for."""
        return moments_of(statistics, self.n_features)

    @property
    def n_statistics(self) -> int:
        """F, the number of statistics of a row, and of natural parameters of a component."""
        return n_statistics(self.n_features)

    def mean_weights(self, statistics: Float[Array | np.ndarray, "*batch K F"]) -> Any:
        """Weight (..., K) of the rows in the means and covariances of components: the count, but for heavy tails."""
        return statistics[..., 0]

    def statistics(self, moments: Moments) -> Float[np.ndarray, "*batch K F"]:
        """Statistics that have these moments, for a start: the inverse of `moments`, in NumPy."""
        return statistics_of(moments)


class DiagonalCovariances(Likelihood):
    """The part of a likelihood of complete rows that is other where all covariances are diagonal: fewer statistics.

    A row has the statistics [1, x, x^2], 1 + 2 D of them.
    """

    diagonal: ClassVar[bool] = True

    def natural(self, mixture: Mixture) -> Float[Array | np.ndarray, "*batch K F"]:
        """Natural parameters of complete rows, from the diagonals alone."""
        return diagonal_natural(mixture)

    def moments(self, statistics: Float[Array | np.ndarray, "*batch K F"]) -> Moments:
        """Counts, means, and variances in diagonal matrices."""
        return moments_of(statistics, self.n_features, diagonal=True)

    @property
    def n_statistics(self) -> int:
        """F = 1 + 2 D."""
        return n_statistics(self.n_features, diagonal=True)

    def statistics(self, moments: Moments) -> Float[np.ndarray, "*batch K F"]:
        """Statistics that have these counts, means and variances."""
        return statistics_of(moments, diagonal=True)


@jax.custom_jvp
def log_likelihood_with_scores(eta: Natural, rows: Likelihood) -> Float64[Array, ""]:
    """Marginal log-likelihood of rows whose gradient, their expected statistics, is found in the same pass."""
    return rows.expected_statistics(eta).value


@log_likelihood_with_scores.defjvp
def _log_likelihood_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    eta, rows = primals
    value, statistics = rows.expected_statistics(eta)
    return value, (statistics * tangents[0]).sum()
