r"""The likelihood of rows with known errors, x_n + e_n with e_n ~ N(0, C_n): extreme deconvolution.

With a component's natural parameters as N(mu, S) and T = S + C_n on the cells that were seen,

.. math:: f_{nk} = \log \pi_k + \log N(o_n \mid \mu_k, T_{nk}), \qquad
          E[x \mid o_n, k] = \mu_k + S_k T_{nk}^{-1} (o_n - \mu_k), \qquad
          \mathrm{Cov}[x \mid o_n, k] = S_k - S_k T_{nk}^{-1} S_k.

Every row has covariances of its own, so nothing is linear in features; instead T is factorised column by column with
its entries as arrays over components and rows of a block, which the processor's vector instructions go through. A
missing cell is a row of the identity in T, and a difference of zero.

References
----------
Bovy, Hogg and Roweis (2011), doi 10.1214/10-AOAS439.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float64, Int

from bayes_gmm.core.compilation import padded_length
from bayes_gmm.core.linalg import LOG_2PI, cholesky, invert_tril, log_diagonal, unvech, vech
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.linear_form import Assignment, Expectation, soft
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

_ROWS_OF_A_BLOCK = 128
"""Rows of a block: its factors, D^2 numbers for each row and component, then stay in the cache."""

_MOST_COLUMNS_WRITTEN_OUT = 8
"""Columns up to which sums over them are written out: programs of more would take long to compile."""


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
    noise : (M, V, B)
        Lower triangles of the covariances of the errors.
    labels : (M, B)
        Known component of each row, -1 where it is not known.
    first, stop
        Blocks from `first` to before `stop` are visited.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    points: Annotated[Any, "M D B"]
    weights: Annotated[Any, "M B"]
    seen: Annotated[Any, "M D B"]
    noise: Annotated[Any, "M V B"]
    labels: Annotated[Any, "M B"]
    first: Annotated[Any, ""]
    stop: Annotated[Any, ""]

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

    def expected_statistics(self, eta: Float64[Array, "K F"], assignment: Assignment = soft) -> Expectation:
        """E-step, in one pass."""
        return self._expected(_moment_form(eta), assignment)

    def expected_at(self, mixture: Mixture, assignment: Assignment = soft) -> Expectation:
        """The same at a mixture, some of whose covariances may be next to singular."""
        return self._expected(_MomentForm(mixture.log_weights, mixture.means, mixture.covariances), assignment)

    def log_likelihood(self, eta: Float64[Array, "K F"]) -> Float64[Array, ""]:
        """Marginal log-likelihood, whose gradient costs no second pass."""
        return _log_likelihood(eta, self)

    def curvature(self, eta: Float64[Array, "K F"]) -> Float64[Array, "K F K F"]:
        """Hessian: spread of the expected features over the labels, and of the features about what is expected."""
        form = _moment_form(eta)
        same = jnp.eye(len(eta))

        def of_block(number: Array) -> Array:
            given, weights = self._given(form, number), jnp.asarray(self.weights)[number]
            complete, shares = _complete(form, given), jax.nn.softmax(given.log_joint, axis=0)
            phi = _features(complete)
            scores = shares[:, None] * phi
            own = jnp.einsum("kfn,kgn,n->kfg", scores, phi, weights) + _spread(complete, shares * weights[None])
            return same[:, None, :, None] * own[:, :, None, :] - jnp.einsum("kfn,lgn,n->kflg", scores, scores, weights)

        return self._sum(of_block)

    def score_products(self, eta: Float64[Array, "K F"]) -> Float64[Array, "KF KF"]:
        """Sum of the weighted products of the scores of the rows."""
        form = _moment_form(eta)

        def of_block(number: Array) -> Array:
            given = self._given(form, number)
            phi = _features(_complete(form, given))
            scores = (jax.nn.softmax(given.log_joint, axis=0)[:, None] * phi).reshape(eta.size, -1)
            return (scores * jnp.asarray(self.weights)[number][None]) @ scores.T

        return self._sum(of_block)

    def milliseconds(self, n_components: int) -> float:
        """Rough time of a pass over the rows on one core: some 40 ns a row and component, and 2 for each D cubed."""
        nanoseconds = 40.0 + 2.0 * self.n_features**3
        return 1e-6 * nanoseconds * n_components * self.points.shape[2] * int(self.stop - self.first)

    def parts(self, count: int) -> "list[RowsWithErrors]":
        """These rows in `count` parts, or in as many as there are blocks if these are fewer."""
        first, stop = int(self.first), int(self.stop)
        bounds = np.linspace(first, stop, min(count, stop - first) + 1).astype(int)
        return [replace(self, first=a, stop=b) for a, b in pairwise(bounds)]

    def unvisited(self) -> "RowsWithErrors":
        """The same arrays, no block of which is visited."""
        return replace(self, stop=self.first)

    def without_rows(self) -> "RowsWithErrors":
        """No rows."""
        return jax.tree.map(lambda leaf: leaf[:0] if leaf.ndim else leaf, self)

    def in_blocks(self, row_weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R *blocks"]:
        """Other weights of the rows (R, N), laid out as the blocks are (R, M, B)."""
        padding = self.weights.size - row_weights.shape[1]
        return np.pad(row_weights, ((0, 0), (0, padding))).reshape(-1, *self.weights.shape)

    def with_weights(self, weights: Float[Array, "*blocks"]) -> "RowsWithErrors":
        """The same rows with other weights (M, B)."""
        return replace(self, weights=weights)

    def _expected(self, form: "_MomentForm", assignment: Assignment) -> Expectation:
        def of_block(number: Array) -> tuple[Array, Array, Array]:
            given = lax.optimization_barrier(self._given(form, number))
            value, shares = assignment(given.log_joint, jnp.asarray(self.weights)[number])
            rows, columns = np.tril_indices(self.n_features)
            squares = given.scores[:, rows] * given.scores[:, columns] - given.precisions
            return value, shares.sum(1), jnp.einsum("kn,kfn->kf", shares, jnp.concatenate([given.scores, squares], 1))

        value, counts, sums = self._sum(of_block)
        return Expectation(value, _statistics(form, counts, sums))

    def _given(self, form: "_MomentForm", number: Array) -> "_Given":
        points, seen, noise = (jnp.asarray(leaf)[number] for leaf in (self.points, self.seen, self.noise))
        given, labels = _condition(form, points, seen, noise), jnp.asarray(self.labels)[number]
        allowed = (labels < 0)[None] | (labels[None] == jnp.arange(len(form.constants))[:, None])
        return given._replace(log_joint=jnp.where(allowed, given.log_joint, -jnp.inf))

    def _sum[T](self, of_block: Callable[[Array], T]) -> T:
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(of_block, jnp.array(0)))
        return lax.fori_loop(
            self.first, self.stop, lambda number, total: jax.tree.map(jnp.add, total, of_block(number)), zero
        )


@jax.custom_jvp
def _log_likelihood(eta: Float64[Array, "K F"], rows: RowsWithErrors) -> Float64[Array, ""]:
    return rows.expected_statistics(eta).value


@_log_likelihood.defjvp
def _log_likelihood_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    eta, rows = primals
    value, statistics = rows.expected_statistics(eta)
    return value, (statistics * tangents[0]).sum()


class _MomentForm(NamedTuple):
    """Components as constants (K,), the logarithms of their integrals, means (K, D) and covariances (K, D, D)."""

    constants: Float[Array, " K"]
    means: Float[Array, "K D"]
    covariances: Float[Array, "K D D"]


class _Given(NamedTuple):
    """Log joint densities (K, B), and with T the covariance of what was observed, T^-1 (o - mu) (K, D, B) and T^-1.

    `precisions` are the lower triangles (K, V, B) of T^-1. Both are zero at cells that were not seen.
    """

    log_joint: Float[Array, "K B"]
    scores: Float[Array, "K D B"]
    precisions: Float[Array, "K V B"]


def _moment_form(eta: Float[Array, "K F"]) -> _MomentForm:
    """Constants, means and covariances of natural parameters, also where their integral is not one."""
    n_features = int((np.sqrt(8 * eta.shape[1] + 1) - 3) / 2)
    linear = eta[:, 1 : 1 + n_features]
    precision = -(1.0 + np.eye(n_features))[None] * unvech(eta[:, 1 + n_features :], n_features)
    factors = jax.vmap(cholesky)(precision)
    inverse = invert_tril(factors)
    covariances = inverse.mT @ inverse
    means = (covariances @ linear[..., None])[..., 0]
    integrals = 0.5 * (linear * means).sum(-1) - log_diagonal(factors) + 0.5 * n_features * LOG_2PI
    return _MomentForm(eta[:, 0] + integrals, means, covariances)


def _condition(form: _MomentForm, points: Array, seen: Array, noise: Array) -> _Given:
    """What the rows of a block say of complete rows, for each component."""
    by_columns = points.shape[0] <= _MOST_COLUMNS_WRITTEN_OUT
    given = (_condition_by_columns if by_columns else _condition_by_matrices)(form, points, seen, noise)
    constants = form.constants[:, None] - 0.5 * seen.sum(0)[None] * LOG_2PI
    return given._replace(log_joint=constants + given.log_joint)


def _condition_by_columns(form: _MomentForm, points: Array, seen: Array, noise: Array) -> _Given:
    """Sums over columns are written out, and their terms are arrays (K, B)."""
    D = points.shape[0]
    entry = _entries(D)

    def total(i: int, j: int) -> Array:
        both, S = (seen[i] & seen[j])[None], form.covariances[:, i, j, None]
        return jnp.where(both, S + noise[entry[i, j]][None], 1.0 if i == j else 0.0)

    # Between the barriers nothing is computed twice.
    L, pivots = lax.optimization_barrier(_factor(total, D))
    inverse = lax.optimization_barrier(_invert(L))
    seen_pivots = [jnp.where(seen[i][None], 1 / pivots[i], 0.0) for i in range(D)]
    r = [jnp.where(seen[i][None], points[i][None] - form.means[:, i, None], 0.0) for i in range(D)]
    u = [r[i] + _dot(inverse[i], r) for i in range(D)]
    squares = sum(part**2 * by for part, by in zip(u, seen_pivots, strict=True))
    log_determinant = sum(map(jnp.log, pivots))
    # T^-1 is the sum over m of the products of column i and j of the row m of L^-1, over the pivot.
    scaled = [[part * by for part in row] + [by] for row, by in zip(inverse, seen_pivots, strict=True)]
    scores = [_dot([row[i] for row in scaled[i:]], u[i:]) for i in range(D)]
    precisions = [
        scaled[i][j] + sum(scaled[m][i] * inverse[m][j] for m in range(i + 1, D))
        for i in range(D)
        for j in range(i + 1)
    ]
    return _Given(-0.5 * (log_determinant + squares), jnp.stack(scores, 1), jnp.stack(precisions, 1))


def _condition_by_matrices(form: _MomentForm, points: Array, seen: Array, noise: Array) -> _Given:
    """Of many columns: one factorisation for each row and component."""
    D = points.shape[0]
    own, both = seen.T[None], (seen[:, None] & seen[None])[None].transpose(0, 3, 1, 2)
    total = form.covariances[:, None] + noise[_entries(D)].transpose(2, 0, 1)[None]
    factor = jnp.linalg.cholesky(jnp.where(both, total, jnp.eye(D)[None, None]))
    identity = jnp.broadcast_to(jnp.eye(D)[None, None] * own[..., None], factor.shape)
    inverse = lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    offsets = jnp.where(own, points.T[None] - form.means[:, None], 0.0)
    u = (inverse @ offsets[..., None])[..., 0]
    scores = (inverse.mT @ u[..., None])[..., 0]
    precisions = vech(inverse.mT @ inverse)
    return _Given(-log_diagonal(factor) - 0.5 * (u**2).sum(-1), scores.mT, precisions.mT)


def _entries(n_features: int) -> Int[np.ndarray, "D D"]:
    """Place of each entry of a symmetric matrix in its lower triangle."""
    i, j = np.indices((n_features, n_features))
    high, low = np.maximum(i, j), np.minimum(i, j)
    return high * (high + 1) // 2 + low


def _factor(total: Callable[[int, int], Array], D: int) -> tuple[list[list[Array]], list[Array]]:
    """Unit lower triangular L and pivots P with L P L' a matrix of arrays; L without its diagonal."""
    L: list[list[Array]] = []
    pivots: list[Array] = []
    for i in range(D):
        # The row of L P first; its entries are then divided by the pivots.
        row: list[Array] = []
        for j in range(i):
            row.append(total(i, j) - sum(row[m] * L[j][m] for m in range(j)))
        L.append([part / pivot for part, pivot in zip(row, pivots, strict=True)])
        pivots.append(total(i, i) - sum(one * other for one, other in zip(row, L[i], strict=True)))
    return L, pivots


def _invert(L: list[list[Array]]) -> list[list[Array]]:
    """Inverse of a unit lower triangular matrix, also without its diagonal."""
    inverse: list[list[Array]] = []
    for i, row in enumerate(L):
        inverse.append([-row[j] - sum(row[m] * inverse[m][j] for m in range(j + 1, i)) for j in range(i)])
    return inverse


def _dot(left: list[Array], right: list[Array]) -> Any:
    return sum(one * other for one, other in zip(left, right, strict=False))


def _statistics(form: _MomentForm, counts: Float[Array, " K"], sums: Float[Array, "K DV"]) -> Float[Array, "K F"]:
    """Expected statistics from weighted sums of T^-1 (o - mu) and of its square less T^-1."""
    D, S = form.means.shape[1], form.covariances
    shift = (S @ sums[:, :D, None])[..., 0]
    cross = form.means[:, :, None] * shift[:, None]
    squares = S @ unvech(sums[:, D:], D) @ S + cross + cross.mT
    squares += counts[:, None, None] * (S + form.means[:, :, None] * form.means[:, None])
    return jnp.concatenate([counts[:, None], counts[:, None] * form.means + shift, vech(squares)], 1)


class _CompleteRows(NamedTuple):
    """Means (K, D, B) and covariances (K, D, D, B) of complete rows, given what was observed and the label."""

    means: Float[Array, "K D B"]
    covariances: Float[Array, "K D D B"]


def _complete(form: _MomentForm, given: _Given) -> _CompleteRows:
    D, S = form.means.shape[1], form.covariances
    means = form.means[..., None] + jnp.einsum("kij,kjn->kin", S, given.scores)
    precisions = given.precisions[:, _entries(D)]
    return _CompleteRows(means, S[..., None] - jnp.einsum("kij,kjgn,kgh->kihn", S, precisions, S))


def _features(complete: _CompleteRows) -> Float[Array, "K F B"]:
    """Expected features of complete rows: 1, the mean, and the covariance plus the square of the mean."""
    means, covariances = complete
    rows, columns = np.tril_indices(means.shape[1])
    squares = covariances[:, rows, columns] + means[:, rows] * means[:, columns]
    return jnp.concatenate([jnp.ones_like(means[:, :1]), means, squares], 1)


def _spread(complete: _CompleteRows, shares: Float[Array, "K B"]) -> Float[Array, "K F F"]:
    """Weighted sum of the covariances of the features of complete rows, which are Gaussian given what was observed."""
    m, C = complete
    i, j = np.tril_indices(m.shape[1])
    linear_by_square = C[:, :, i] * m[:, None, j] + C[:, :, j] * m[:, None, i]
    (i, g), (j, h) = (i[:, None], i[None]), (j[:, None], j[None])
    squares = C[:, i, g] * C[:, j, h] + C[:, i, h] * C[:, j, g]
    squares += m[:, i] * m[:, g] * C[:, j, h] + m[:, i] * m[:, h] * C[:, j, g]
    squares += m[:, j] * m[:, g] * C[:, i, h] + m[:, j] * m[:, h] * C[:, i, g]
    weighted = partial(jnp.einsum, "kfgn,kn->kfg")
    xx, xs, ss = (weighted(part, shares) for part in (C, linear_by_square, squares))
    lower = jnp.concatenate([jnp.concatenate([xx, xs], 2), jnp.concatenate([xs.mT, ss], 2)], 1)
    return jnp.pad(lower, ((0, 0), (1, 0), (1, 0)))


def log_joint(
    eta: Float[Array, "K F"], points: Float[Array, "D N"], seen: Bool[Array, "D N"], noise: Float[Array, "V N"]
) -> Float[Array, "K N"]:
    """Log joint densities of rows and labels, for rows laid out as in a block of `RowsWithErrors`."""
    return _condition(_moment_form(eta), points, seen, noise).log_joint


def unit_noise(
    scaling: Scaling, errors: Float[np.ndarray, "N D D"], seen: Bool[np.ndarray, "N D"]
) -> Float[np.ndarray, "N V"]:
    """Lower triangles of the covariances of the errors of seen cells, in unit coordinates."""
    return np.asarray(vech(_in_unit_coordinates(scaling, errors, seen)))


def narrowest(scaling: Scaling, errors: Float[np.ndarray, "N D D"], seen: Bool[np.ndarray, "N D"]) -> float:
    """Smallest standard deviation of the errors of seen cells in any direction, in unit coordinates."""
    noise = _in_unit_coordinates(scaling, errors, seen)
    absent = ~seen[:, :, None] * np.eye(seen.shape[1]) * np.abs(noise).max(initial=1.0)
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(noise + absent)[:, 0].min(), 0.0)))


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
) -> RowsWithErrors:
    """Rows (N, D), NaN where a cell was not seen, with the covariances of their errors, in unit coordinates.

    Where cells are missing the coordinates scale each column by itself.
    """
    N = len(x)
    size = min(_ROWS_OF_A_BLOCK, padded_length(N))
    padding = -N % size
    seen = ~np.isnan(x)
    z = scaling.points_to_unit(np.where(seen, x, scaling.center))
    noise = unit_noise(scaling, errors, seen)
    known = np.full(N, -1) if labels is None else labels

    def cut(rows: np.ndarray, filler: Any) -> np.ndarray:
        padded = np.concatenate([rows, np.full((padding, *rows.shape[1:]), filler, rows.dtype)])
        return np.ascontiguousarray(np.moveaxis(padded.reshape(-1, size, *rows.shape[1:]), 1, -1))

    return RowsWithErrors(
        points=cut(z, 0.0),
        weights=cut(sample_weight, 0.0),
        seen=cut(seen, False),
        noise=cut(noise, 0.0),
        labels=cut(known, -1),
        first=np.asarray(0),
        stop=np.asarray((N + padding) // size),
    )
