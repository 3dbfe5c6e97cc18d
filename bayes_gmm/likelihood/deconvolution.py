r"""What the rows of a block, observed with known errors, say of the true rows: the algebra of extreme deconvolution.

With T = S_k + C_n on the cells that were seen, all that the sums over rows need is the score q = T^{-1} (o_n - mu_k)
and T^{-1} itself: the expected statistics follow from their sums by products with S_k, once for each component,

.. math:: \sum_n r_{nk} (b b^\top + B) = S \Big[\sum_n r_{nk} (q q^\top - T^{-1})\Big] S + \dots, \qquad
          b = \mu_k + S q, \quad B = S - S T^{-1} S,

which stays exact where S is next to singular. T is factorised column by column, with its entries as arrays over
components and rows, which the processor's vector instructions go through. A missing cell is a row of the identity in
T, and a difference of zero.

References
----------
Bovy, Hogg and Roweis (2011), doi 10.1214/10-AOAS439.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.core.linalg import LOG_2PI, cholesky, invert_tril, log_diagonal, unvech, vech
from bayes_gmm.mixture.noise import unseen_volume

MOST_ROUNDING = 1e-3
"""Nats by which rounding may change the constant of a component."""

_MOST_COLUMNS_WRITTEN_OUT = 8
"""Columns up to which sums over them are written out: programs of more would take long to compile."""


class MomentForm(NamedTuple):
    """Components as constants (K,), the logarithms of their integrals, means (K, D) and covariances (K, D, D).

    After them, as in `contract`, the constant of noise, where there is noise; it has neither mean nor covariance.
    """

    constants: Float[Array, " _"]
    means: Float[Array, "K D"]
    covariances: Float[Array, "K D D"]


class Given(NamedTuple):
    """Log joint densities (K, B), and with T the covariance of what was observed, T^-1 (o - mu) (K, D, B) and T^-1.

    `precisions` are the lower triangles (K, V, B) of T^-1. Both are zero at cells that were not seen. Of noise there
    is the log joint density alone, in one more row.
    """

    log_joint: Float[Array, "_ B"]
    scores: Float[Array, "K D B"]
    precisions: Float[Array, "K V B"]


def moment_form(eta: Float[Array | np.ndarray, "_ F"], *, has_noise: bool = False) -> MomentForm:
    """Constants, means and covariances of natural parameters, also where their integral is not one.

    The constants are NaN where a precision is so near to singular that rounding would show in them. The last row is
    that of noise, where there is noise.
    """
    if has_noise:
        form = moment_form(eta[:-1])
        return form._replace(constants=jnp.append(form.constants, eta[-1, 0]))
    n_features = int((np.sqrt(8 * eta.shape[1] + 1) - 3) / 2)
    linear = eta[:, 1 : 1 + n_features]
    precision = -(1.0 + jnp.eye(n_features))[None] * unvech(eta[:, 1 + n_features :], n_features)
    factors = jax.vmap(cholesky)(precision)
    inverse = invert_tril(factors)
    covariances = inverse.mT @ inverse
    means = (covariances @ linear[..., None])[..., 0]
    integrals = 0.5 * (linear * means).sum(-1) - log_diagonal(factors) + 0.5 * n_features * LOG_2PI
    pivots = jnp.diagonal(factors, axis1=1, axis2=2) ** 2 / jnp.diagonal(precision, axis1=1, axis2=2)
    rounding = np.finfo(np.float64).eps * jnp.abs(linear * means).sum(-1) / pivots.min(-1)
    return MomentForm(jnp.where(rounding < MOST_ROUNDING, eta[:, 0] + integrals, jnp.nan), means, covariances)


def condition(
    form: MomentForm, points: Array, seen: Array, errors: Array, log_widths: Float[Any, " D"] | None = None
) -> Given:
    """What the rows of a block say of complete rows, for each component, and of noise, where its box has widths."""
    by_columns = points.shape[0] <= _MOST_COLUMNS_WRITTEN_OUT
    given = (_condition_by_columns if by_columns else _condition_by_matrices)(form, points, seen, errors)
    of_components = form.constants[: len(form.means), None] - 0.5 * seen.sum(0)[None] * LOG_2PI + given.log_joint
    if log_widths is None:
        return given._replace(log_joint=of_components)
    of_noise = form.constants[-1] + unseen_volume(jnp.asarray(log_widths)[None], seen.T)
    return given._replace(log_joint=jnp.concatenate([of_components, of_noise[None]]))


def _condition_by_columns(form: MomentForm, points: Array, seen: Array, errors: Array) -> Given:
    """Sums over columns are written out, and their terms are arrays (K, B)."""
    D = points.shape[0]
    entry = _entries(D)

    def total(i: int, j: int) -> Array:
        both, S = (seen[i] & seen[j])[None], form.covariances[:, i, j, None]
        return jnp.where(both, S + errors[entry[i, j]][None], 1.0 if i == j else 0.0)

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
    return Given(-0.5 * (log_determinant + squares), jnp.stack(scores, 1), jnp.stack(precisions, 1))


def _condition_by_matrices(form: MomentForm, points: Array, seen: Array, errors: Array) -> Given:
    """Of many columns: one factorisation for each row and component."""
    D = points.shape[0]
    own, both = seen.T[None], (seen[:, None] & seen[None])[None].transpose(0, 3, 1, 2)
    total = form.covariances[:, None] + errors[_entries(D)].transpose(2, 0, 1)[None]
    factor = jnp.linalg.cholesky(jnp.where(both, total, jnp.eye(D)[None, None]))
    identity = jnp.broadcast_to(jnp.eye(D)[None, None] * own[..., None], factor.shape)
    inverse = lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    offsets = jnp.where(own, points.T[None] - form.means[:, None], 0.0)
    u = (inverse @ offsets[..., None])[..., 0]
    scores = (inverse.mT @ u[..., None])[..., 0]
    precisions = jnp.asarray(vech(inverse.mT @ inverse))
    return Given(-log_diagonal(factor) - 0.5 * (u**2).sum(-1), scores.mT, precisions.mT)


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
        # The row of L P first; its _entries are then divided by the pivots.
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


def expected_statistics(
    form: MomentForm, counts: Float[Array, " K"], sums: Float[Array, "K DV"]
) -> Float[Array, "K F"]:
    """Expected statistics from weighted sums of T^-1 (o - mu) and of its square less T^-1."""
    D, S = form.means.shape[1], form.covariances
    shift = (S @ sums[:, :D, None])[..., 0]
    cross = form.means[:, :, None] * shift[:, None]
    squares = S @ unvech(sums[:, D:], D) @ S + cross + cross.mT
    squares += counts[:, None, None] * (S + form.means[:, :, None] * form.means[:, None])
    return jnp.concatenate([counts[:, None], counts[:, None] * form.means + shift, vech(squares)], 1)


class CompleteRows(NamedTuple):
    """Means (K, D, B) and covariances (K, D, D, B) of complete rows, given what was observed and the label."""

    means: Float[Array, "K D B"]
    covariances: Float[Array, "K D D B"]


def complete_rows(form: MomentForm, given: Given) -> CompleteRows:
    """Moments of the complete rows of a block, for each component."""
    D, S = form.means.shape[1], form.covariances
    means = form.means[..., None] + jnp.einsum("kij,kjn->kin", S, given.scores)
    precisions = given.precisions[:, _entries(D)]
    return CompleteRows(means, S[..., None] - jnp.einsum("kij,kjgn,kgh->kihn", S, precisions, S))


def features(complete: CompleteRows, *, has_noise: bool = False) -> Float[Array, "_ F B"]:
    """Expected features of complete rows: 1, the mean, and the covariance plus the square of the mean; 1 of noise."""
    means, covariances = complete
    rows, columns = np.tril_indices(means.shape[1])
    squares = covariances[:, rows, columns] + means[:, rows] * means[:, columns]
    of_components = jnp.concatenate([jnp.ones_like(means[:, :1]), means, squares], 1)
    if not has_noise:
        return of_components
    return jnp.concatenate([of_components, jnp.zeros_like(of_components[:1]).at[:, 0].set(1.0)])


def spread(complete: CompleteRows, shares: Float[Array, "K B"]) -> Float[Array, "K F F"]:
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
    eta: Float[Array, "_ F"],
    points: Float[Array, "D N"],
    seen: Bool[Array, "D N"],
    errors: Float[Array, "V N"],
    log_widths: Float[Any, " D"] | None = None,
) -> Float[Array, "_ N"]:
    """Log joint densities of rows and labels, for rows laid out as in a block of `RowsWithErrors`."""
    form = moment_form(eta, has_noise=log_widths is not None)
    return condition(form, points, seen, errors, log_widths).log_joint
