r"""Rows with known errors under one mixture, in NumPy: their log joint densities, and the true rows behind them.

With T = S_k + C_n on the cells that were seen, what was observed has the density N(mu_k, T), and the true row the mean
and covariance

.. math:: \mu_k + S_k T^{-1} (o_n - \mu_k), \qquad S_k - S_k T^{-1} S_k

given the component; the components are then averaged by their responsibilities. Noise says nothing of the true row but
that it lies about what was observed, with the error's covariance; where a cell was not seen, in the box. It is
`measurement_errors` in its plain form, for what is asked once; S_k may be singular.

References
----------
Bovy, Hogg and Roweis (2011), doi 10.1214/10-AOAS439.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bayes_gmm.core.linalg import LOG_2PI
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.imputation import completed_rows
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise, sides_where_unseen, unseen_volume

_ROWS_AT_ONCE = 4096
"""Rows whose covariances are held at a time."""


class TrueRows(NamedTuple):
    """Mean (N, D) of each true value given what was observed of its row, and its standard deviation."""

    mean: Float[np.ndarray, "N D"]
    sd: Float[np.ndarray, "N D"]


class _GivenComponent(NamedTuple):
    log_density: Float[np.ndarray, " N"]
    mean: Float[np.ndarray, "N D"]
    variance: Float[np.ndarray, "N D"]


def log_joint_with_errors(
    mixture: Mixture, x: Float[np.ndarray, "N D"], errors: Float[np.ndarray, "N D D"]
) -> Float[np.ndarray, "N _"]:
    """Log joint density of each row, NaN where a cell was not seen, and label; NaN where a covariance is singular.

    After the components comes noise, where there is any.
    """
    K = mixture.n_components
    found = np.empty((len(x), K + (mixture.noise is not None)))
    for rows in _parts(len(x)):
        for k in range(K):
            found[rows, k] = mixture.log_weights[k] + _given(mixture, k, x[rows], errors[rows]).log_density
    if mixture.noise is not None:
        found[:, K] = _of_noise(mixture.noise, x)
    return found


def responsibilities_with_errors(
    mixture: Mixture, x: Float[np.ndarray, "N D"], errors: Float[np.ndarray, "N D D"]
) -> Float[np.ndarray, "N K"]:
    """Soft assignments of rows to components, given their errors; what they leave belongs to noise."""
    return _shares(log_joint_with_errors(mixture, x, errors))[:, : mixture.n_components]


def true_rows(mixture: Mixture, table: Table) -> TrueRows:
    """Moments of the true rows of a table under one mixture, cells that were not seen among them.

    Examples
    --------
    >>> mixture = Mixture.from_moments([1.0], [[0.0]], [[[1.0]]])
    >>> true_rows(mixture, Table(np.array([[2.0], [-4.0]]), ("x",), errors=np.ones((2, 1)))).mean.ravel()
    array([ 1., -2.])
    """
    x, errors = table.values, table.error_covariances
    if errors is None:
        return TrueRows(*completed_rows(mixture, x))
    mean, sd = np.empty_like(x), np.empty_like(x)
    for rows in _parts(len(x)):
        given = [_given(mixture, k, x[rows], errors[rows]) for k in range(mixture.n_components)]
        log_joint = mixture.log_weights + np.stack([one.log_density for one in given], 1)
        if mixture.noise is not None:
            given.append(_given_noise(mixture.noise, x[rows], errors[rows]))
            log_joint = np.append(log_joint, given[-1].log_density[:, None], 1)
        shares = _shares(log_joint).T[..., None]
        means, variances = np.stack([one.mean for one in given]), np.stack([one.variance for one in given])
        mean[rows] = (shares * means).sum(0)
        sd[rows] = np.sqrt((shares * (variances + (means - mean[rows]) ** 2)).sum(0))
    return TrueRows(mean, sd)


def _shares(log_joint: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    return np.exp(log_joint - np.logaddexp.reduce(log_joint, 1, keepdims=True))


def _of_noise(noise: Noise, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    """Log of weight times density of what was observed."""
    seen = ~np.isnan(x)
    return noise.log_joint + unseen_volume(sides_where_unseen(noise, seen), seen)


def _given_noise(noise: Noise, x: Float[np.ndarray, "N D"], errors: Float[np.ndarray, "N D D"]) -> _GivenComponent:
    seen = ~np.isnan(x)
    return _GivenComponent(
        log_density=_of_noise(noise, x),
        mean=np.where(seen, x, noise.mean),
        variance=np.where(seen, np.diagonal(errors, axis1=1, axis2=2), np.diag(noise.covariance)),
    )


def _parts(n_rows: int) -> list[slice]:
    return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, n_rows, _ROWS_AT_ONCE)]


def _given(
    mixture: Mixture, k: int, x: Float[np.ndarray, "N D"], errors: Float[np.ndarray, "N D D"]
) -> _GivenComponent:
    seen: Bool[np.ndarray, "N D"] = ~np.isnan(x)
    center, S = np.asarray(mixture.means)[k], np.asarray(mixture.covariances)[k]
    both, identity = seen[:, :, None] & seen[:, None], np.eye(len(center))
    try:
        factor = np.linalg.cholesky(np.where(both, S + errors, identity))
    except np.linalg.LinAlgError:
        nothing = np.full(x.shape, np.nan)
        return _GivenComponent(nothing[:, 0], nothing, nothing)
    offsets = np.where(seen, x - center, 0.0)[..., None]
    # Columns of L^-1 times the rows of S that were seen, and of L^-1 times the offset.
    solved = np.linalg.solve(factor, np.concatenate([np.where(seen[..., None], S, 0.0), offsets], -1))
    slopes, whitened = solved[..., :-1], solved[..., -1]
    log_determinant = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
    return _GivenComponent(
        log_density=-0.5 * ((whitened**2).sum(1) + seen.sum(1) * LOG_2PI) - log_determinant,
        mean=center + (slopes.mT @ whitened[..., None])[..., 0],
        variance=np.maximum(np.diag(S) - (slopes**2).sum(1), 0.0),
    )
