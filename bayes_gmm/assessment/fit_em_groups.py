"""One mixture for each group of rows: many small fits that share few compiled programs."""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from tqdm import tqdm

from bayes_gmm.assessment.select_em import CRITERIA, checked_counts, checked_search, is_usable
from bayes_gmm.core.export import html_table, write_csv
from bayes_gmm.core.tuning import n_cores
from bayes_gmm.core.validation import any_array, one_of
from bayes_gmm.errors import ArgumentError, BayesGMMError, DataError
from bayes_gmm.io.dataframes import Columns, from_columns, named_columns
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.mle.best_fit import SearchOptions, fit_problem
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.objective.problem import Problem

_STARTS = 32
"""Starts of each fit."""

_ROOM = 1024
"""Number of rows up to which groups share a program."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupFits:
    """One fit for each group, and why there is none where there is none.

    Attributes
    ----------
    table
        All rows.
    rows
        Numbers of the rows of each group, by group, in the order in which groups first appear.
    fits
        The fits by group; `groups[name]` is one of them.
    failures
        Why a group has no fit.
    """

    table: Table
    rows: dict[Any, Int[np.ndarray, " some"]]
    fits: dict[Any, EMFit]
    failures: dict[Any, str]

    @property
    def n_points(self) -> dict[Any, int]:
        """Number of rows of each group."""
        return {group: len(rows) for group, rows in self.rows.items()}

    def values(self, group: Any) -> Float[np.ndarray, "some D"]:
        """The rows of a group."""
        return self.table.values[self.rows[group]]

    def __getitem__(self, group: Any) -> EMFit:
        return self.fits[group]

    def __len__(self) -> int:
        return len(self.rows)

    def records(self) -> list[dict[str, Any]]:
        """One dictionary for each component of each group; one with the reason, and None beside, for one without."""
        found = [record for group in self.rows for record in self._records_of(group)]
        names = dict.fromkeys(name for record in found for name in record)
        return [dict.fromkeys(names) | record for record in found]

    def to_csv(self, path: str | Path) -> None:
        """Write the records, with all digits, to a CSV file; `OutputError` when it cannot be written."""
        write_csv(self.records(), path)

    def __str__(self) -> str:
        rows = [self._head, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(self._head))]
        lines = ("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths[:-1], strict=False)) for row in rows)
        return "\n".join([self._caption, *(f"{line}  {row[-1]}" for line, row in zip(lines, rows, strict=True))])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self._caption}{html_table(self._head, self._rows())}"

    @property
    def _caption(self) -> str:
        failed = f", {len(self.failures)} without a fit" if self.failures else ""
        return f"{len(self)} groups{failed}"

    @property
    def _head(self) -> list[str]:
        return ["group", "N", "K", "log L", "BIC", "weights and means"]

    def _rows(self) -> list[list[str]]:
        return [self._row(group) for group in self.rows]

    def _row(self, group: Any) -> list[str]:
        start = [str(group), str(len(self.rows[group]))]
        if group in self.failures:
            return [*start, "", "", "", self.failures[group]]
        fit = self.fits[group]
        parts = zip(fit.mixture.weights, fit.mixture.means, strict=True)
        components = "; ".join(f"{w:.2f} at {', '.join(f'{m:.4g}' for m in mean)}" for w, mean in parts)
        return [*start, str(fit.mixture.n_components), f"{fit.log_likelihood:.2f}", f"{fit.bic():.2f}", components]

    def _records_of(self, group: Any) -> list[dict[str, Any]]:
        about = {"group": group, "n_points": len(self.rows[group])}
        if group in self.failures:
            return [about | {"failure": self.failures[group]}]
        fit = self.fits[group]
        about |= {"n_components": fit.mixture.n_components, "structure": fit.structure.name, "status": fit.status.name}
        about |= {"log_likelihood": fit.log_likelihood, "bic": fit.bic()}
        parts = enumerate(zip(fit.mixture.weights, fit.mixture.means, fit.mixture.standard_deviations, strict=True))
        columns = fit.table.columns
        return [
            about
            | {"component": k, "weight": float(weight)}
            | {f"mean {name}": float(value) for name, value in zip(columns, mean, strict=True)}
            | {f"sd {name}": float(value) for name, value in zip(columns, scales, strict=True)}
            for k, (weight, mean, scales) in parts
        ]


def fit_em_groups(
    x: Any,
    by: Any,
    n_components: int | Iterable[int] = 1,
    *,
    covariance_type: str = "full",
    criterion: str = "bic",
    missing: str = "integrate",
    progress: bool = True,
    **options: Any,
) -> GroupFits:
    """Fit a mixture of Gaussians to each group of rows by itself.

    Groups of up to 1024 rows share compiled programs, whatever their sizes and numbers of components.

    Parameters
    ----------
    x : (N, D)
        Table of numbers; rows are points.
    by : (N,)
        Group of each row, numbers or words; or the name of a column of a data frame, or of the one that
        `read_table(labels=...)` set aside.
    n_components
        Number of Gaussians of each group, or several, of which the criterion chooses for each group.
    covariance_type
        As `fit_em` takes it.
    criterion
        "bic", "icl" or "aic".
    missing
        What cells that were not seen (NaN) mean: "integrate", "refuse" or "drop", as in `fit_em`.
    progress
        Whether to show a progress bar on standard error.
    **options
        Handed to `fit_em`, with 32 starts unless `n_starts` says otherwise: those that say where to start and when to
        stop, a `prior` and an `assignment`.

    Returns
    -------
    GroupFits
        A group that cannot be fitted, for it has fewer rows than components or a constant column, or because every run
        collapsed, is kept with the reason.

    Raises
    ------
    DataError, ArgumentError
        When the table or an argument cannot be used, or a row has no group.

    Examples
    --------
    >>> import numpy as np, bayes_gmm as bg
    >>> iris = bg.datasets.load("iris").select("petal_width")
    >>> groups = bg.fit_em_groups(iris, by="species", n_components=range(1, 3), progress=False)
    >>> groups["setosa"].mixture.n_components
    1
    """
    one_of("criterion", criterion, CRITERIA, 'The default is "bic".')
    table, by = _table_and_groups(x, by, missing)
    counts = checked_counts([n_components] if isinstance(n_components, int | np.integer) else n_components)
    asked, search = checked_search("fit_em_groups", options, ("prior", "assignment"), _STARTS)
    Problem.of(table, 1, covariance_type=covariance_type, **asked)
    names, number = _groups(by, table)
    question = _Question(
        table=table, covariance_type=covariance_type, counts=counts, criterion=criterion, asked=asked, search=search
    )
    rows = {name: np.flatnonzero(number == i) for i, name in enumerate(names)}
    with ThreadPoolExecutor(n_cores()) as threads:
        found = threads.map(question.answer, rows.values())
        bar = tqdm(found, desc="groups", total=len(rows), disable=not progress, leave=False)
        answers = dict(zip(rows, bar, strict=True))
    return GroupFits(
        table=table,
        rows=rows,
        fits={name: answer for name, answer in answers.items() if isinstance(answer, EMFit)},
        failures={name: answer for name, answer in answers.items() if isinstance(answer, str)},
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Question:
    """What is asked of each group."""

    table: Table
    covariance_type: str
    counts: list[int]
    criterion: str
    asked: dict[str, Any]
    search: SearchOptions

    def answer(self, rows: Int[np.ndarray, " some"]) -> EMFit | str:
        """The best fit to these rows, or why there is none."""
        fits: list[EMFit] = []
        reasons: list[str] = []
        for count in self.counts:
            try:
                part = self.table.rows(rows)
                problem = Problem.of(part, count, covariance_type=self.covariance_type, **self.asked)
                fit = fit_problem(problem, self.search, max(self.counts), _room(len(rows)))
            except BayesGMMError as error:
                reasons.append(str(error))
                continue
            if is_usable(fit):
                fits.append(fit)
            else:
                reasons.append(f"EM ended {fit.status.name} with {count} components.")
        return min(fits, key=lambda fit: getattr(fit, self.criterion)()) if fits else reasons[0]


def _room(n_points: int) -> int:
    """Number of rows for which the program that fits a group has room; of a long group it is its own."""
    return _ROOM if n_points <= _ROOM else 0


def _table_and_groups(x: Any, by: Any, missing: str) -> tuple[Table, Any]:
    """The table, and the group of each row of it or of its source, which may be one of the columns."""
    if not isinstance(by, str):
        return as_table(x, missing=missing), by
    if isinstance(x, Table) and x.labels is not None and by == x.labels_from:
        table = as_table(x, missing=missing)
        return table, [label or None for label in table.labels or ()]
    columns = None if isinstance(x, Table) else named_columns(x)
    if columns is None or by not in columns.names:
        known = [x.labels_from] if isinstance(x, Table) and x.labels else columns.names if columns else []
        raise ArgumentError(
            f"by is {by!r}.",
            f"the group of each row, or the name of a column: {', '.join(map(repr, known)) or 'this table has none'}",
            "Give an array with a group for each row, a data frame, or read_table(labels=...).",
        )
    place = columns.names.index(by)
    others = Columns(*(part[:place] + part[place + 1 :] for part in columns))
    return as_table(Table(*from_columns(others)), missing=missing), columns.cells[place]


def _groups(by: Any, table: Table) -> tuple[list[Any], Int[np.ndarray, " N"]]:
    """Names of the groups in the order in which they appear, and the number of that of each row."""
    expected = f"one group for each of the {table.n_points} rows, numbers or words"
    given = any_array("by", by, expected, "Give the column of groups as an array, and leave it out of the table.")
    given = table.of_kept_rows(given) if given.ndim else given
    if given.shape != (table.n_points,):
        raise ArgumentError(f"by has shape {given.shape}.", expected, "Give one array with a group for each row.")
    cells = given.tolist()
    missing = [i for i, cell in enumerate(cells) if cell is None or (isinstance(cell, float) and math.isnan(cell))]
    if missing:
        raise DataError(
            f"Row {missing[0]} has no group, and neither have {len(missing) - 1} others.",
            expected,
            "Leave these rows out, or give them a group of their own.",
        )
    names = list(dict.fromkeys(cells))
    places = {name: i for i, name in enumerate(names)}
    return names, np.array([places[cell] for cell in cells])
