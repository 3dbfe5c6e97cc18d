"""Counting how often something happened, and whether that is as often as it should be."""

from typing import NamedTuple

import numpy as np
import scipy.stats

ERROR = 0.01
"""Probability that a test on this record fails by chance: over all its proportions together, by Bonferroni."""


class Share(NamedTuple):
    """A count out of a total."""

    count: int
    total: int

    @classmethod
    def of(cls, happened: object) -> "Share":
        """Count what is true."""
        values = np.asarray(happened, bool)
        return cls(int(values.sum()), values.size)

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of 95 % for the probability (Clopper and Pearson 1934, doi 10.1093/biomet/26.4.404)."""
        if not self.total:
            return 0.0, 1.0
        found = scipy.stats.binomtest(self.count, self.total).proportion_ci(0.95)
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.total} ({100 * low:.0f} to {100 * high:.0f} %)"


def binomial_p_value(count: int, total: int, probability: float) -> float:
    """Probability of a count at least as unlikely as this one."""
    return float(scipy.stats.binomtest(int(count), int(total), probability).pvalue)


def covered(estimates: np.ndarray, errors: np.ndarray, truth: np.ndarray, level: float) -> np.ndarray:
    """Whether the interval of a normal estimate holds the truth."""
    return np.abs(estimates - truth) <= scipy.stats.norm.ppf((1 + level) / 2) * errors


def unlike(hits: np.ndarray, probability: float) -> float:
    """Smallest p-value over the columns of hits (S, Q) that each has this probability, times their number."""
    values = [binomial_p_value(column.sum(), len(column), probability) for column in hits.T]
    return min(1.0, len(values) * min(values))


def mean_and_error(hits: np.ndarray) -> tuple[float, float]:
    """Mean of hits (S, Q) and its standard error: columns of one row are not independent, rows are."""
    of_rows = hits.mean(1)
    # Where all hit or none does, the error that one more row of the other kind would show.
    spread = max(float(of_rows.std(ddof=1)) / np.sqrt(len(of_rows)), 1 / len(of_rows) / hits.shape[1])
    return float(of_rows.mean()), spread


def worse(some: Share, others: Share) -> float:
    """Probability by chance alone that `some` falls as far below `others` (Fisher's exact test)."""
    table = [[some.count, some.total - some.count], [others.count, others.total - others.count]]
    return float(scipy.stats.fisher_exact(table, alternative="less").pvalue)
