r"""Cells that were not seen, given those of their row that were: their mean and spread, and draws of them.

Given the seen cells o a mixture is a mixture of the others (`Mixture.condition`), so that the mean is
\(\sum_k r_k (\mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - \mu_o))\), and a draw first draws the component.

References
----------
Multiple imputation: Rubin (1987), doi 10.1002/9780470316696.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.mixture.gaps import group_by_gaps
from bayes_gmm.mixture.mixture import Mixture


class CompletedRows(NamedTuple):
    """Mean (N, D) of each cell given the seen ones of its row, itself where it was seen, and its sd, zero there."""

    mean: Float[np.ndarray, "N D"]
    sd: Float[np.ndarray, "N D"]


def completed_rows(mixture: Mixture, x: Float[np.ndarray, "N D"]) -> CompletedRows:
    """Conditional moments of the missing (NaN) cells under one mixture."""
    mean, sd = x.copy(), np.zeros_like(x)
    for rows, missing, given in _groups(mixture, x):
        mean[np.ix_(rows, missing)] = given.mean
        sd[np.ix_(rows, missing)] = np.sqrt(np.diagonal(given.covariance, axis1=-2, axis2=-1))
    return CompletedRows(mean, sd)


def draw_missing(mixture: Mixture, x: Float[np.ndarray, "N D"], *, seed: int) -> Float[np.ndarray, "N D"]:
    """The rows with one draw of their missing (NaN) cells from the conditional distribution under one mixture."""
    completed = x.copy()
    for number, (rows, missing, given) in enumerate(_groups(mixture, x)):
        drawn = given.sample(1, seed=seed + number)[0][:, 0]
        completed[np.ix_(rows, missing)] = drawn
    return completed


def _groups(
    mixture: Mixture, x: Float[np.ndarray, "N D"]
) -> Iterator[tuple[Int[np.ndarray, " R"], Int[np.ndarray, " M"], Mixture]]:
    """Rows with the same gaps, their missing cells, and the mixtures (R,) of these given the others."""
    seen, group = group_by_gaps(x)
    for number, cells in enumerate(seen):
        if cells.all():
            continue
        rows = np.flatnonzero(group == number)
        yield rows, np.flatnonzero(~cells), _given(mixture, cells, x[rows])


def _given(mixture: Mixture, seen: Bool[np.ndarray, " D"], x: Float[np.ndarray, "R D"]) -> Mixture:
    if seen.any():
        return mixture.condition(np.flatnonzero(seen), x[:, seen])
    parts = (mixture.log_weights, mixture.means, mixture.scale_tril)
    log_weights, means, scale_tril = (np.broadcast_to(part, (len(x), *np.shape(part))) for part in parts)
    return Mixture(log_weights=log_weights, means=means, scale_tril=scale_tril)
