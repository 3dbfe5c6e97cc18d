r"""Rows with gaps, cells that were not seen: which rows have the same ones, and what is left of a mixture there.

The seen cells o of a row have the marginal density of the mixture, N(x_o | mu_o, Sigma_oo) in each component. To keep
all rows of one length, the missing cells are put at zero, under a standard normal of their own whose constant is taken
off again:

.. math:: N(x_o \mid \mu_o, \Sigma_{oo}) = (2 \pi)^{|m| / 2} \, N\Big(\begin{pmatrix} x_o \\ 0 \end{pmatrix} \Big|
          \begin{pmatrix} \mu_o \\ 0 \end{pmatrix}, \begin{pmatrix} \Sigma_{oo} & 0 \\ 0 & I \end{pmatrix}\Big).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.core.linalg import LOG_2PI, lower_factor
from bayes_gmm.errors import DataError
from bayes_gmm.io.table_checks import DIAGONAL, RANK_TOLERANCE


class Gaps(NamedTuple):
    """Rows grouped by the cells that were seen.

    Attributes
    ----------
    seen : (G, D)
        Which cells of a group's rows were seen.
    group : (N,)
        Group of each row.
    """

    seen: Bool[np.ndarray, "G D"]
    group: Int[np.ndarray, " N"]


def group_by_gaps(x: Float[np.ndarray, "N D"]) -> Gaps:
    """Groups of the rows with the same missing (NaN) cells.

    Examples
    --------
    >>> group_by_gaps(np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, 5.0]])).group
    array([1, 0, 1])
    """
    codes = np.packbits(~np.isnan(x), axis=1)
    _, first, group = np.unique(codes.view(f"V{codes.shape[1]}")[:, 0], return_index=True, return_inverse=True)
    return Gaps(~np.isnan(x[first]), group)


def seen_part(
    log_weights: Float[np.ndarray, "*batch K"],
    means: Float[np.ndarray, "*batch K D"],
    scale_tril: Float[np.ndarray, "*batch K D D"],
    seen: Bool[np.ndarray, " D"],
) -> tuple[Float[np.ndarray, "*batch K"], Float[np.ndarray, "*batch K D"], Float[np.ndarray, "*batch K D D"]]:
    """Log weights, means and factors whose density at rows with zeros in the missing cells is that of the seen ones."""
    chosen = np.flatnonzero(seen)
    factors = np.broadcast_to(np.diag((~seen).astype(float)), scale_tril.shape).copy()
    if chosen.size:
        factors[..., chosen[:, None], chosen] = lower_factor(scale_tril[..., chosen, :])
    return log_weights + 0.5 * (~seen).sum() * LOG_2PI, np.where(seen, means, 0.0), factors


class GaussianMoments(NamedTuple):
    """Mean (D,) and covariance (D, D) of one Gaussian."""

    mean: Float[np.ndarray, " D"]
    covariance: Float[np.ndarray, "D D"]


_MOST_STEPS = 2000
"""Steps of EM for one Gaussian: a bound for tables of which hardly any two columns were seen together."""

_DONE = 1e-10
"""Largest change of the moments of standardised columns in a step at which they are found."""


def seen_moments(x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]) -> GaussianMoments:
    """Mean and standard deviations, as a diagonal covariance, of the seen cells of each column."""
    seen = ~np.isnan(x)
    counts = weights @ seen
    mean = (weights @ np.where(seen, x, 0.0)) / counts
    return GaussianMoments(mean, np.diag((weights @ np.where(seen, x - mean, 0.0) ** 2) / counts))


def fit_one_gaussian(x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"]) -> GaussianMoments:
    """The Gaussian of maximum likelihood for rows with gaps, by EM on sums over the rows of each group.

    References
    ----------
    Little and Rubin (2019), doi 10.1002/9781119482260, section 11.2.
    """
    columns = seen_moments(x, weights)
    scales = np.sqrt(np.diag(columns.covariance))
    seen, group = group_by_gaps(x)
    z = np.where(np.isnan(x), 0.0, (x - columns.mean) / scales)
    own = np.equal.outer(np.arange(len(seen)), group) * weights
    counts, sums = own.sum(1), own @ z
    products = np.stack([(z * of_group[:, None]).T @ z for of_group in own])
    mean, covariance = np.zeros(len(scales)), np.eye(len(scales))
    for _ in range(_MOST_STEPS):
        last = mean, covariance
        mean, covariance = _step(mean, covariance, seen, counts, sums, products)
        moved = max(np.abs(mean - last[0]).max(), np.abs(covariance - last[1]).max())
        if moved < _DONE or not np.linalg.eigvalsh(covariance)[0] > RANK_TOLERANCE:
            break
    return GaussianMoments(columns.mean + scales * mean, covariance * np.outer(scales, scales))


def _step(
    mean: Float[np.ndarray, " D"],
    covariance: Float[np.ndarray, "D D"],
    seen: Bool[np.ndarray, "G D"],
    counts: Float[np.ndarray, " G"],
    sums: Float[np.ndarray, "G D"],
    products: Float[np.ndarray, "G D D"],
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, "D D"]]:
    """One step of EM: regressions of all columns on the seen ones, then the moments of what they expect."""
    both, center = seen[:, :, None] & seen[:, None, :], np.where(seen, mean, 0.0)
    block = np.where(both, covariance, np.eye(len(mean)))
    # An expected row is mean + slopes (row - mean), with slopes of zero at cells that were not seen.
    slopes = np.linalg.solve(block, np.where(seen[:, :, None], covariance, 0.0)).mT * seen[:, None, :]
    offsets = sums - counts[:, None] * center
    cross = center[:, :, None] * sums[:, None, :]
    spread = products - cross - cross.mT + counts[:, None, None] * center[:, :, None] * center[:, None, :]
    unexplained = counts[:, None, None] * (covariance - slopes @ np.where(seen[:, :, None], covariance, 0.0))
    shift = (slopes @ offsets[..., None])[..., 0].sum(0) / counts.sum()
    total = (slopes @ spread @ slopes.mT + unexplained).sum(0) / counts.sum()
    return mean + shift, total - np.outer(shift, shift)


def check_seen_together(x: Float[np.ndarray, "N D"], weights: Float[np.ndarray, " N"], columns: Sequence[str]) -> None:
    """Refuse rows with gaps that leave a covariance undetermined.

    Raises
    ------
    DataError
        When no row has both of two columns, or a column is, in the seen cells, a linear combination of others.
    """
    if not np.isnan(x).any():
        return
    seen = (~np.isnan(x[weights > 0])).astype(float)
    apart = np.argwhere(np.triu(seen.T @ seen == 0))
    if apart.size:
        one, other = (columns[i] for i in apart[0])
        found = f"No row has both {one!r} and {other!r}, so that nothing tells how they vary together."
        raise DataError(found, "rows with each pair of columns", f"Drop one of the two; {DIAGONAL}.")
    covariance = fit_one_gaussian(x, weights).covariance
    scales = np.sqrt(np.diag(covariance))
    sizes, directions = np.linalg.eigh(covariance / np.outer(scales, scales))
    if not sizes[0] > RANK_TOLERANCE:
        culprit = columns[int(np.abs(directions[:, 0]).argmax())]
        found = f"In the cells that were seen {culprit!r} is a linear combination of the other columns."
        raise DataError(found, "columns that are linearly independent", f"Drop {culprit!r}; {DIAGONAL}.")
