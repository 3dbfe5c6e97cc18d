r"""The likelihood of rows with known errors, x_n + e_n with e_n ~ N(0, C_n): extreme deconvolution.

With a component's natural parameters as N(mu, S) and T = S + C_n on the cells that were seen,

.. math:: f_{nk} = \log \pi_k + \log N(o_n \mid \mu_k, T_{nk}), \qquad
          E[x \mid o_n, k] = \mu_k + S_k T_{nk}^{-1} (o_n - \mu_k), \qquad
          \mathrm{Cov}[x \mid o_n, k] = S_k - S_k T_{nk}^{-1} S_k.

Every row has covariances of its own, so nothing is linear in features (`deconvolution` has the algebra of a block).

References
----------
Bovy, Hogg and Roweis (2011), doi 10.1214/10-AOAS439.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float64, Int

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.linalg import vech
from bayes_gmm.likelihood import deconvolution
from bayes_gmm.likelihood.contract import Likelihood, log_likelihood_with_scores
from bayes_gmm.likelihood.linear_form import Assignment, Expectation, Natural, soft
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise, sides_where_unseen
from bayes_gmm.mixture.scaling import Scaling

_ROWS_OF_A_BLOCK = 128
"""Rows of a block: its factors, D^2 numbers for each row and component, then stay in the cache."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class RowsWithErrors(Likelihood):
    """Rows with known covariances of their errors, in blocks.

    Attributes
    ----------
    points : (M, D, B)
        What was observed, zero where a cell was not seen.
    weights : (M, B)
        Weight of each row; zero for padding.
    seen : (M, D, B)
        Whether each cell was seen.
    errors : (M, V, B)
        Lower triangles of the covariances of the errors.
    labels : (M, B)
        Known component of each row, -1 where it is not known.
    first, stop
        Blocks from `first` to before `stop` are visited.
    log_widths : (D,)
        Where there is noise, logarithms of the sides of its box, or zeros where every cell was seen; else None.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    points: Annotated[Any, "M D B"]
    weights: Annotated[Any, "M B"]
    seen: Annotated[Any, "M D B"]
    errors: Annotated[Any, "M V B"]
    labels: Annotated[Any, "M B"]
    first: Annotated[Any, ""]
    stop: Annotated[Any, ""]
    log_widths: Annotated[Any, "D; None without noise"] = None

    @property
    def has_noise(self) -> bool:
        """Whether the last row of natural parameters is that of noise."""
        return self.log_widths is not None

    @property
    def n_features(self) -> int:
        """D, the number of columns of the table."""
        return int(self.points.shape[1])

    @property
    def total_weight(self) -> Any:
        """Sum of the weights of the rows."""
        return self.weights.sum()

    def log_volume(self, scaling: Scaling) -> Any:
        """The weight of the seen cells of each column times the logarithm of its unit."""
        of_columns = (self.weights[:, None] * self.seen).sum((0, 2))
        return of_columns @ jnp.log(jnp.diagonal(scaling.factor))

    def expected_statistics(self, eta: Natural, assignment: Assignment = soft) -> Expectation:
        """E-step, in one pass."""
        return self._expected(self._form(eta), assignment)

    def expected_at(self, mixture: Mixture, assignment: Assignment = soft) -> Expectation:
        """The same at a mixture, some of whose covariances may be next to singular."""
        constants = mixture.log_weights
        if mixture.noise is not None:
            constants = jnp.append(constants, mixture.noise.log_joint)
        return self._expected(deconvolution.MomentForm(constants, mixture.means, mixture.covariances), assignment)

    def log_likelihood(self, eta: Natural) -> Float64[Array, ""]:
        """Marginal log-likelihood, whose gradient costs no second pass."""
        return log_likelihood_with_scores(eta, self)

    def curvature(self, eta: Natural) -> Float64[Array, "K F K F"]:
        """Hessian: spread of the expected features over the labels, and of the features about what is expected."""
        form, same = self._form(eta), jnp.eye(len(eta))

        def of_block(number: Array) -> Array:
            given, weights = self._given(form, number), jnp.asarray(self.weights)[number]
            complete, shares = deconvolution.complete_rows(form, given), jax.nn.softmax(given.log_joint, axis=0)
            phi = deconvolution.features(complete, has_noise=self.has_noise)
            scores = shares[:, None] * phi
            own = jnp.einsum("kfn,kgn,n->kfg", scores, phi, weights)
            own = own.at[: len(form.means)].add(
                deconvolution.spread(complete, shares[: len(form.means)] * weights[None])
            )
            return same[:, None, :, None] * own[:, :, None, :] - jnp.einsum("kfn,lgn,n->kflg", scores, scores, weights)

        return self._sum(of_block)

    def score_products(self, eta: Natural) -> Float64[Array, "KF KF"]:
        """Sum of the weighted products of the scores of the rows."""
        form = self._form(eta)

        def of_block(number: Array) -> Array:
            given = self._given(form, number)
            phi = deconvolution.features(deconvolution.complete_rows(form, given), has_noise=self.has_noise)
            scores = (jax.nn.softmax(given.log_joint, axis=0)[:, None] * phi).reshape(eta.size, -1)
            return (scores * jnp.asarray(self.weights)[number][None]) @ scores.T

        return self._sum(of_block)

    def milliseconds(self, n_components: int) -> float:
        """Rough time of a pass over the rows on one core: some 17 ns a row and component, and 0.4 for each D cubed."""
        nanoseconds = 17.0 + 0.4 * self.n_features**3
        return 1e-6 * nanoseconds * n_components * self.points.shape[2] * int(self.stop - self.first)

    def parts(self, count: int) -> "list[RowsWithErrors]":
        """These rows in `count` parts, or in as many as there are blocks if these are fewer."""
        first, stop = int(self.first), int(self.stop)
        bounds = np.linspace(first, stop, min(count, stop - first) + 1).astype(int)
        return [replace(self, first=a, stop=b) for a, b in pairwise(bounds)]

    def unvisited(self) -> "RowsWithErrors":
        """The same arrays, no block of which is visited."""
        return replace(self, stop=self.first)

    def in_blocks(self, row_weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R *blocks"]:
        """Other weights of the rows (R, N), laid out as the blocks are (R, M, B)."""
        padding = self.weights.size - row_weights.shape[1]
        return np.pad(row_weights, ((0, 0), (0, padding))).reshape(-1, *self.weights.shape)

    def with_weights(self, weights: Float[Array, "*blocks"]) -> "RowsWithErrors":
        """The same rows with other weights (M, B)."""
        return replace(self, weights=weights)

    def _expected(self, form: deconvolution.MomentForm, assignment: Assignment) -> Expectation:
        def of_block(number: Array) -> tuple[Array, Array, Array]:
            given = lax.optimization_barrier(self._given(form, number))
            value, shares = assignment(given.log_joint, jnp.asarray(self.weights)[number])
            rows, columns = np.tril_indices(self.n_features)
            squares = given.scores[:, rows] * given.scores[:, columns] - given.precisions
            of_components = shares[: len(form.means)], jnp.concatenate([given.scores, squares], 1)
            return value, shares.sum(1), jnp.einsum("kn,kfn->kf", *of_components)

        value, counts, sums = self._sum(of_block)
        statistics = deconvolution.expected_statistics(form, counts[: len(form.means)], sums)
        of_noise = jnp.zeros((int(self.has_noise), statistics.shape[1])).at[:, 0].set(counts[len(form.means) :])
        return Expectation(value, jnp.concatenate([statistics, of_noise]))

    def _form(self, eta: Natural) -> deconvolution.MomentForm:
        return deconvolution.moment_form(eta, has_noise=self.has_noise)

    def _given(self, form: deconvolution.MomentForm, number: Array) -> deconvolution.Given:
        points, seen, errors = (jnp.asarray(leaf)[number] for leaf in (self.points, self.seen, self.errors))
        given = deconvolution.condition(form, points, seen, errors, self.log_widths)
        labels = jnp.asarray(self.labels)[number]
        allowed = (labels < 0)[None] | (labels[None] == jnp.arange(len(form.constants))[:, None])
        return given._replace(log_joint=jnp.where(allowed, given.log_joint, -jnp.inf))

    def _sum[T](self, of_block: Callable[[Array], T]) -> T:
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of_block, jnp.array(0)))
        return lax.fori_loop(
            self.first, self.stop, lambda number, total: jax.tree.map(jnp.add, total, of_block(number)), zero
        )


def unit_errors(
    scaling: Scaling, errors: Float[np.ndarray, "N D D"], seen: Bool[np.ndarray, "N D"]
) -> Float[np.ndarray, "N V"]:
    """Lower triangles of the covariances of the errors of seen cells, in unit coordinates."""
    return np.asarray(vech(_in_unit_coordinates(scaling, errors, seen)))


def narrowest(scaling: Scaling, errors: Float[np.ndarray, "N D D"], seen: Bool[np.ndarray, "N D"]) -> float:
    """Smallest standard deviation of the errors of seen cells in any direction, in unit coordinates."""
    unit = _in_unit_coordinates(scaling, errors, seen)
    absent = ~seen[:, :, None] * np.eye(seen.shape[1]) * np.abs(unit).max(initial=1.0)
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(unit + absent)[:, 0].min(), 0.0)))


def _in_unit_coordinates(
    scaling: Scaling, errors: Float[np.ndarray, "N D D"], seen: Bool[np.ndarray, "N D"]
) -> Float[np.ndarray, "N D D"]:
    inverse = np.linalg.inv(scaling.factor)
    return inverse @ np.where(seen[:, :, None] & seen[:, None], errors, 0.0) @ inverse.T


def prepare(
    x: Float[np.ndarray, "N D"],
    sample_weight: Float[np.ndarray, " N"],
    scaling: Scaling,
    errors: Float[np.ndarray, "N D D"],
    labels: Int[np.ndarray, " N"] | None = None,
    noise: Noise | None = None,
) -> RowsWithErrors:
    """Rows (N, D), NaN where a cell was not seen, with the covariances of their errors, in unit coordinates.

    Where cells are missing the coordinates scale each column by itself. `noise` is in data units; what was observed of
    its rows fills the box, whatever their errors.
    """
    N = len(x)
    size = min(_ROWS_OF_A_BLOCK, padded_length(N))
    padding = -N % size
    seen = ~np.isnan(x)
    z = scaling.points_to_unit(np.where(seen, x, scaling.center))
    log_widths = None if noise is None else sides_where_unseen(scaling.noise_to_unit(noise), seen)
    known = np.full(N, -1) if labels is None else labels

    def cut(rows: np.ndarray, filler: Any) -> np.ndarray:
        padded = np.concatenate([rows, np.full((padding, *rows.shape[1:]), filler, rows.dtype)])
        return np.ascontiguousarray(np.moveaxis(padded.reshape(-1, size, *rows.shape[1:]), 1, -1))

    return RowsWithErrors(
        points=cut(z, 0.0),
        weights=cut(sample_weight, 0.0),
        seen=cut(seen, False),
        errors=cut(unit_errors(scaling, errors, seen), 0.0),
        labels=cut(known, -1),
        first=np.asarray(0),
        stop=np.asarray((N + padding) // size),
        log_widths=log_widths,
    )
