"""Missing cells of a column beside the seen values of the column that tells most about it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.mixture.imputation import CompletedRows, draw_missing
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior


class ImputedCells(NamedTuple):
    """The missing cells of one column.

    Attributes
    ----------
    column, beside
        The column, and the one of all others with which it correlates most.
    seen : (N, 2)
        Rows in which both were seen, first the value of `beside`.
    at : (M,)
        Values of `beside` in the rows that lack the column: seen, or means where they were not.
    at_seen : (M,)
        Whether these were seen.
    mean, sd : (M,)
        Of the missing cells, given what was seen of their rows.
    draws : (R, M)
        Imputations of them.
    """

    column: int
    beside: int
    seen: Float[np.ndarray, "N 2"]
    at: Float[np.ndarray, " M"]
    at_seen: np.ndarray
    mean: Float[np.ndarray, " M"]
    sd: Float[np.ndarray, " M"]
    draws: Float[np.ndarray, "R M"]


def imputed_cells(fit: Posterior | EMFit, columns: list[int], num: int, seed: int) -> list[ImputedCells]:
    """The missing cells of each of the columns, of which the fit has at least two."""
    x, completed = fit.table.values, fit.completed()
    tables = _tables(fit, num, seed)
    return [_of_column(x, completed, tables, column) for column in columns]


def _tables(fit: Posterior | EMFit, num: int, seed: int) -> Float[np.ndarray, "R N D"]:
    """Completed tables: under the posterior, or under the estimate as if it were known."""
    if isinstance(fit, Posterior):
        return fit.impute(num, seed=seed)
    seeds = np.random.SeedSequence(seed).generate_state(num)
    return np.stack([draw_missing(fit.mixture, fit.table.values, seed=int(own)) for own in seeds])


def _of_column(
    x: Float[np.ndarray, "N D"], completed: CompletedRows, tables: Float[np.ndarray, "R N D"], column: int
) -> ImputedCells:
    missing = np.isnan(x[:, column])
    correlations = np.abs(np.corrcoef(completed.mean.T)[column])
    correlations[column] = -1.0
    beside = int(correlations.argmax())
    both = ~np.isnan(x[:, [beside, column]]).any(1)
    return ImputedCells(
        column=column,
        beside=beside,
        seen=x[np.ix_(both, [beside, column])],
        at=completed.mean[missing, beside],
        at_seen=~np.isnan(x[missing, beside]),
        mean=completed.mean[missing, column],
        sd=completed.sd[missing, column],
        draws=tables[:, missing, column],
    )
