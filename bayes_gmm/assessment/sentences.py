"""Sentences about the rows of a comparison: what the likelihood says beside its maximum, and what the prior adds.

A posterior mean lies off the maximum-likelihood estimate for two reasons. The likelihood is not symmetric about its
maximum, which is news about the data; or the prior pulls, which is not. `prior_sensitivity` tells one from the other.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bayes_gmm.assessment.parameter_comparison import AMBIGUOUS, PRIOR, Row

_SHIFTED = 0.5
"""Posterior sds: parameters whose posterior mean lies farther from the estimate are listed as moving."""

_WIDER = 1.25
"""Parameters are listed whose posterior sd and standard error differ by a larger factor."""

_FLAGGED = {
    AMBIGUOUS: "These rows are of different components in different draws, so quote the density, clusters or sorted "
    "quantities instead: {}.",
    "second mode": "The posterior has a second mode, which no estimate with an error bar shows, in {}.",
    "boundary": "An interval of estimate plus or minus runs into the boundary of what is possible for {}.",
    "skew": "An interval of estimate plus or minus is wrong for {}: the posterior is skewed.",
    "tails": "The posterior is not the Gaussian that its mode suggests for {}: its tails differ.",
}

_MOST_NAMES = 4


class Misfit(NamedTuple):
    """By how many nats the log-likelihood of the draws lies below its maximum on average.

    Where the prior is weak, twice the difference has a chi-squared distribution with as many degrees of freedom as
    there are parameters. A prior that outweighs the data is seen here alone: a little less of it changes little, so
    that no sensitivity is large. The deficit is NaN where the two fits are of different models.
    """

    deficit: float
    n_parameters: int

    @property
    def is_large(self) -> bool:
        """Whether the draws fit worse by more than twice what is expected."""
        return self.deficit > self.n_parameters


def sentences(rows: Sequence[Row], misfit: Misfit) -> Iterator[str]:
    """Sentences on shifts, ratios of sd to standard error and flags by the likelihood, then on what the prior adds."""
    yield from _moved_by_the_likelihood(rows, misfit)
    yield from _wider(rows)
    for flag, sentence in _FLAGGED.items():
        if flagged := [row for row in rows if flag in row.flags]:
            yield sentence.format(_listed(flagged))
    yield from _prior(rows, misfit)


def _moved_by_the_likelihood(rows: Sequence[Row], misfit: Misfit) -> Iterator[str]:
    moved = [row for row in _moved(rows) if not _mostly_prior(row)]
    if moved:
        cause = "" if misfit.is_large else " by the shape of the likelihood"
        yield (
            f"Posterior means more than {_SHIFTED} posterior sd from the estimate{cause}: "
            f"{len(moved)} of {len(rows)} ({_listed(moved)})."
        )
    largest = max(rows, key=lambda row: abs(row.shift))
    by_the_prior = "" if np.isnan(largest.prior_shift) else f", about {largest.prior_shift:+.2f} of it by the prior"
    yield (
        f"Largest shift from estimate to posterior mean: {largest.shift:+.2f} posterior sd, of {largest.name}"
        f"{by_the_prior}."
    )


def _moved(rows: Sequence[Row]) -> list[Row]:
    return sorted((row for row in rows if abs(row.shift) > _SHIFTED), key=lambda row: -abs(row.shift))


def _mostly_prior(row: Row) -> bool:
    """Whether at least half of the way from the estimate to the posterior mean is the prior's."""
    return bool(row.prior_shift * np.sign(row.shift) >= abs(row.shift) / 2)


def _wider(rows: Sequence[Row]) -> Iterator[str]:
    """On parameters whose posterior is wider or narrower than the standard error says."""
    wider = [row for row in rows if row.width_ratio > _WIDER]
    narrower = [row for row in rows if row.width_ratio < 1 / _WIDER]
    for which, word in ((wider, "wider"), (narrower, "narrower")):
        for by_the_prior, cause in ((False, ""), (True, ", and depends on the prior,")):
            if found := [row for row in which if (PRIOR in row.flags) == by_the_prior]:
                yield f"The posterior is much {word} than the standard error says{cause} for {_listed(found)}."


def _prior(rows: Sequence[Row], misfit: Misfit) -> Iterator[str]:
    """On parameters that the prior moves, or whose distribution depends on it; or that there are none."""
    if moved := [row for row in _moved(rows) if _mostly_prior(row)]:
        listed = _listed(moved, [f"{row.name} by {row.prior_shift:+.2f}" for row in moved])
        yield f"The prior, not the data, moves posterior means from the estimate, in posterior sds: {listed}."
    if misfit.is_large:
        yield (
            f"The draws fit the data worse than the estimate by {misfit.deficit:.0f} nats on average, where "
            f"{misfit.n_parameters / 2:g} are expected of {misfit.n_parameters} parameters: the prior overrules the "
            "data, or the chains are at another mode."
        )
    flagged = sorted((row for row in rows if PRIOR in row.flags), key=lambda row: -row.prior_sensitivity)
    for part in dict.fromkeys(row.prior_part for row in flagged):
        depend = [row for row in flagged if row.prior_part == part]
        yield f"The prior of the {part} is informative for {_listed(depend)}: another one would give another answer."
    if not flagged and (known := [row for row in rows if row.prior_part]):
        most = max(known, key=lambda row: row.prior_sensitivity)
        yield (
            f"No parameter depends noticeably on the prior: largest sensitivity {most.prior_sensitivity:.3f}, of "
            f"{most.name} to that of the {most.prior_part}."
        )


def _listed(rows: Sequence[Row], texts: Sequence[str] = ()) -> str:
    names = list(texts or [row.name for row in rows])
    rest = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")
