"""Selection of the number of components and the covariance structure by an information criterion."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bayes_gmm.core.export import html_table, write_csv
from bayes_gmm.core.validation import one_of, positive_integer
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.io.table import as_table
from bayes_gmm.mle.best_fit import (
    SEARCH_OPTIONS,
    SearchOptions,
    fit_problem,
    fit_side_by_side,
    may_run_side_by_side,
)
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.problem import PROBLEM_OPTIONS, Problem

CRITERIA = ("bic", "icl", "aic")

_CHEAP_POINTS = 5000
"""Rows up to which compiling a program for each number of components takes longer than steps with absent components."""

_STARTS = 32
"""Starts of each fit: a poor local maximum would misrepresent a whole cell of the table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Fits for every number of components and every covariance structure asked for.

    Attributes
    ----------
    fits
        The fits by (number of components, name of the structure).
    criterion
        The criterion that `best` minimises: "bic", "icl" or "aic".
    """

    fits: dict[tuple[int, str], EMFit]
    criterion: str

    @property
    def best(self) -> EMFit:
        """The fit with the lowest criterion among those that did not collapse.

        Raises
        ------
        FitError
            When every fit collapsed.
        """
        usable = [fit for fit in self.fits.values() if is_usable(fit)]
        if not usable:
            raise FitError(
                " ".join((f"All {len(self.fits)} fits collapsed.", *next(iter(self.fits.values())).degeneracies)),
                "at least one that did not",
                EMStatus.COLLAPSED.advice,
            )
        return min(usable, key=self._value)

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each fit; the criteria of a fit that collapsed are NaN."""
        return [_record(fit) for fit in self.fits.values()]

    def to_csv(self, path: str | Path) -> None:
        """Write the records, with all digits, to a CSV file; `OutputError` when it cannot be written."""
        write_csv(self.records(), path)

    def __str__(self) -> str:
        head, rows = self._table()
        return "\n".join(
            [self._caption, *("".join([f"{row[0]:>3}", *map("{:>13}".format, row[1:])]) for row in (head, *rows))]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self._caption}{html_table(*self._table())}"

    @property
    def _caption(self) -> str:
        return f"{self.criterion.upper()}, lower is better; * is the best"

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows: one row for each number of components, one column for each structure."""
        structures = list(dict.fromkeys(name for _, name in self.fits))
        counts = list(dict.fromkeys(count for count, _ in self.fits))
        rows = [[str(count), *(self._cell(count, name) for name in structures)] for count in counts]
        return ["K", *structures], rows

    def _cell(self, count: int, name: str) -> str:
        """Criterion of one fit, marked "*" when it is the best and "!" when it did not converge, or its status."""
        fit = self.fits[count, name]
        if not is_usable(fit):
            return fit.status.name.lower()
        mark = "*" if fit is self.best else "!" if fit.status is EMStatus.MAX_STEPS else " "
        return f"{self._value(fit):.2f}{mark}"

    def _value(self, fit: EMFit) -> float:
        return float(getattr(fit, self.criterion)())


def select_em(
    x: Any,
    n_components: Iterable[int] = range(1, 10),
    *,
    covariance_type: str | Iterable[str] = "full",
    criterion: str = "bic",
    missing: str = "integrate",
    errors: Any = None,
    progress: bool = True,
    **options: Any,
) -> Selection:
    r"""Fit every number of components with every covariance structure and compare them by a criterion.

    .. math:: \mathrm{BIC} = -2 \log L + p \log N

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points.
    n_components
        Numbers of Gaussians to try.
    covariance_type
        One structure or several, as `fit_em` takes them.
    criterion
        "bic", "icl" or "aic".
    missing
        What cells that were not seen (NaN) mean: "integrate", "refuse" or "drop", as in `fit_em`, for all fits alike.
    errors
        Known errors of the values, as in `fit_em`.
    progress
        Whether to show a progress bar on standard error.
    **options
        Handed to `fit_em`, with 32 starts unless `n_starts` says otherwise.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used.

    References
    ----------
    Fraley and Raftery (2002), doi 10.1198/016214502760047131.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("faithful")
    >>> selection = bg.select_em(x, range(1, 5), covariance_type=("full", "tied"), progress=False)
    >>> selection.best.mixture.n_components, selection.best.structure.name
    (3, 'EEE')
    """
    one_of("criterion", criterion, CRITERIA, 'The default is "bic".')
    table = as_table(x, missing=missing, errors=errors)
    names = [covariance_type] if isinstance(covariance_type, str) else _several("covariance_type", covariance_type)
    counts = checked_counts(n_components)
    grid = [(count, name) for count in counts for name in names]
    if not grid:
        raise ArgumentError(
            "covariance_type is empty.", "at least one structure", "For example covariance_type=('full', 'tied')."
        )
    asked, search = checked_search("select_em", options, sorted(PROBLEM_OPTIONS), _STARTS)
    problems = {(K, name): Problem.of(table, K, covariance_type=name, **asked) for K, name in grid}
    with tqdm(total=len(problems), desc="EM", unit=" fits", disable=not progress, leave=False) as bar:
        fits = dict(chain.from_iterable(_fits(problems, name, search, bar) for name in names))
    return Selection(fits={key: fits[key] for key in problems}, criterion=criterion)


def _fits(
    problems: dict[tuple[int, str], Problem], name: str, search: SearchOptions, bar: Any
) -> Iterator[tuple[tuple[int, str], EMFit]]:
    """The fits with one structure."""
    own = {key: problem for key, problem in problems.items() if key[1] == name}
    if may_run_side_by_side(list(own.values()), search):
        yield from zip(own, fit_side_by_side(list(own.values()), search), strict=True)
        bar.update(len(own))
        return
    # Absent components fill up every fit to the largest number of components, so that all share one program.
    largest = max(own.values(), key=lambda problem: problem.n_components)
    shared = largest.table.n_points <= _CHEAP_POINTS and not largest.is_short
    n_slots = largest.n_components if shared else None
    for key, problem in own.items():
        yield key, fit_problem(problem, search, n_slots)
        bar.update()


def checked_counts(n_components: Any) -> list[int]:
    """Several numbers of components, checked."""
    counts = [positive_integer("n_components", count) for count in _several("n_components", n_components)]
    if not counts:
        raise ArgumentError("n_components is empty.", "at least one number", "For example n_components=range(1, 6).")
    return counts


def checked_search(
    verb: str, options: dict[str, Any], of_problem: Sequence[str], n_starts: int
) -> tuple[dict[str, Any], SearchOptions]:
    """Options of `fit_em` in two parts, checked: those of the problem that a verb takes, and those of the search."""
    asked = {name: value for name, value in options.items() if name in of_problem}
    others = {name: value for name, value in options.items() if name not in asked}
    if unknown := sorted(set(others) - set(SEARCH_OPTIONS)):
        raise ArgumentError(
            f"{verb} cannot take {', '.join(unknown)}.",
            f"options among {', '.join(sorted({*of_problem, *SEARCH_OPTIONS}))}",
            "They are those of fit_em, without start.",
        )
    return asked, SearchOptions.of(**{"n_starts": n_starts, **others})


def _several(name: str, value: Any) -> list[Any]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        remedy = "For example n_components=range(1, 6), covariance_type=('full', 'tied')."
        raise ArgumentError(f"{name} is {value!r}.", "several of them, in a list", remedy)
    return list(value)


def is_usable(fit: EMFit) -> bool:
    """Whether a fit ended at a mixture."""
    return fit.status in (EMStatus.CONVERGED, EMStatus.MAX_STEPS)


def _record(fit: EMFit) -> dict[str, Any]:
    criteria = {name: getattr(fit, name)() if is_usable(fit) else np.nan for name in CRITERIA}
    return {
        "n_components": fit.mixture.n_components,
        "structure": fit.structure.name,
        "status": fit.status.name,
        "log_likelihood": fit.log_likelihood if is_usable(fit) else np.nan,
        "n_parameters": fit.n_parameters,
        **criteria,
    }
