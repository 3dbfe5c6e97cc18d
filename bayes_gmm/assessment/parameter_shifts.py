r"""How parameters move between two fits, in standard errors or posterior sds: what a model of the rows is worth.

.. math:: \mathrm{shift} = (\hat\theta_{\text{fit}} - \hat\theta_{\text{reference}}) / \mathrm{sd}(\theta_{\text{fit}})

Two answers from overlapping data are not independent, so a shift is no test; it says whether a conclusion would change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from bayes_gmm.core.export import Record, counted, html_table, write_csv
from bayes_gmm.core.validation import instance_of
from bayes_gmm.errors import ArgumentError, FitError
from bayes_gmm.mixture.parameter_names import LABELS, PARAMETERS
from bayes_gmm.mle.best_fit import SearchOptions, fit_problem
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.arviz_tree import lower_pairs, pair_names, parameters
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.relabelling import match

_SHOWN = 6
"""Parameters that are printed, those that move most."""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """One parameter by both fits: estimates, or posterior means; `sd` is its standard error or posterior sd."""

    name: str
    value: float
    reference: float
    sd: float

    @property
    def shift(self) -> float:
        """Difference of the two in sds; NaN where there is none."""
        return (self.value - self.reference) / self.sd if self.sd > 0 else np.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class ParameterShifts:
    """Shifts of all parameters of a fit against a reference; prints those that move most.

    Attributes
    ----------
    rows
        One `Shift` for each weight, mean, sd and correlation. The sds are those of the components, of t distributions
        those of their covariances rather than of their scatters, NaN where there are none.
    about
        What is compared, in words.
    """

    rows: tuple[Shift, ...]
    about: str

    def largest(self, count: int = _SHOWN) -> list[Shift]:
        """The parameters that move most, the largest shift first."""
        return sorted(self.rows, key=lambda row: -np.nan_to_num(abs(row.shift)))[:count]

    def records(self) -> list[Record]:
        """A list of dictionaries, ready for a data frame."""
        return [vars(row) | {"shift": row.shift} for row in self.rows]

    def to_csv(self, path: str | Path) -> None:
        """Write the records, with all digits, to a CSV file; `OutputError` when it cannot be written."""
        write_csv(self.records(), path)

    def cells(self, count: int = _SHOWN) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the table of the largest shifts as texts."""
        return ["", "fit", "reference", "sd", "shift"], [_texts(row) for row in self.largest(count)]

    def lines(self) -> list[str]:
        """Lines of the table for the terminal."""
        head, body = self.cells()
        width = max(len(row[0]) for row in [head, *body])
        rows = [f"  {name:{width}}" + "".join(f"{text:>11}" for text in texts) for name, *texts in [head, *body]]
        return [self.about, *rows, *self._rest()]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.about)}{html_table(*self.cells())}" + "".join(f"<p>{line}" for line in self._rest())

    def _rest(self) -> Iterator[str]:
        if len(self.rows) > _SHOWN:
            least = max(np.nan_to_num(abs(row.shift)) for row in self.largest(len(self.rows))[_SHOWN:])
            rest = counted(len(self.rows) - _SHOWN, "other parameter")
            yield f"  {rest} by at most {least:.2f}"


def parameter_shifts(fit: EMFit | Posterior, reference: EMFit | Posterior | None = None) -> ParameterShifts:
    """How the answer changes against another fit: each parameter's shift in standard errors or posterior sds.

    Parameters
    ----------
    fit
        What `fit_em` or `fit_nuts` returned.
    reference
        Another fit of the same kind, to the same columns, with as many components. Of an `EMFit` it may be left out:
        then it is the plain Gaussian fit, without noise and heavy tails, to the rows whose every cell was seen, as if
        they had no errors.

    Raises
    ------
    ArgumentError
        The two cannot be compared, or there is no reference.
    DataError
        The plain fit has too few complete rows.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("faithful").values.copy()
    >>> x[x[:, 0] > 3.5, 1] = float("nan")  # the gaps depend on what was seen, so complete rows are no fair sample
    >>> shifts = bg.parameter_shifts(bg.fit_em(x, n_components=1))
    >>> shifts.largest(1)[0].name
    'mean[0, x1]'
    """
    instance_of("fit", fit, (EMFit, Posterior), "Give what fit_em or fit_nuts returned.")
    other = _plain(fit) if reference is None else reference
    instance_of("reference", other, type(fit), "Give another fit of the same kind.")
    _check_alike(fit, other)
    (values, sds), (others, _) = _summary(fit), _summary(other)
    order = match(_center(other), _center(fit), fit.table.values)
    others = {name: part[order] for name, part in others.items() if name in PARAMETERS}
    rows = tuple(_rows(values, others, sds, fit.table.columns))
    unit = "standard errors" if isinstance(fit, EMFit) else "posterior sds"
    about = f"Shifts, in {unit}, of the fit to {_words(fit)} against that to {_words(other)}:"
    return ParameterShifts(rows=rows, about=about)


def plain_fit(fit: EMFit) -> EMFit:
    """The plain Gaussian fit to the complete rows, from the maximum that was found with all of them."""
    return fit_problem(
        fit.problem.plain(), SearchOptions(start=replace(fit.mixture.without_noise(), degrees_of_freedom=None))
    )


def _plain(fit: Any) -> EMFit:
    if not isinstance(fit, EMFit):
        found = "There is no reference, and sampling one takes time."
        raise ArgumentError(found, "two posteriors", 'For gaps: reference=fit_nuts(x, K, missing="drop").')
    if fit.problem.is_plain:
        found = "There is no reference, and the fit is the plain Gaussian fit to complete rows itself."
        raise ArgumentError(found, "another fit of the same columns", "Give it as reference.")
    return plain_fit(fit)


def _check_alike(fit: Any, other: Any) -> None:
    ours, theirs = ((one.table.columns, _center(one).n_components) for one in (fit, other))
    if ours != theirs:
        found = (
            f"The fits are of {ours[1]} and {theirs[1]} components, of {', '.join(ours[0])} and {', '.join(theirs[0])}."
        )
        raise ArgumentError(found, "fits of the same columns with as many components", "Fit both alike.")


def _center(fit: EMFit | Posterior) -> Any:
    return fit.mixture if isinstance(fit, EMFit) else fit.mle.mixture


type _ByName = dict[str, Float[np.ndarray, "..."]]


def _summary(fit: EMFit | Posterior) -> tuple[_ByName, _ByName]:
    """Estimates and standard errors, which are NaN where there are none, or posterior means and sds."""
    if isinstance(fit, Posterior):
        draws = fit.tree["posterior"].to_dataset()
        chains = {str(name): variable.values for name, variable in draws.items()}
        moments = (np.mean, np.std)
        chains["scales"] = np.asarray(fit.draws.standard_deviations)
        means, sds = ({n: np.asarray(of(v, axis=(0, 1))) for n, v in chains.items()} for of in moments)
        return means, sds
    deviations = np.asarray(fit.mixture.standard_deviations)
    values = parameters(fit.mixture, fit.table.columns) | {"scales": deviations}
    try:
        errors = dict(fit.standard_errors)
        errors["scales"] = np.diagonal(errors["covariances"], axis1=1, axis2=2) / (2 * deviations)
        errors["correlations"] = lower_pairs(errors["correlations"])
    except FitError:
        errors = {name: np.full(part.shape, np.nan) for name, part in values.items()}
    return values, errors


def _rows(values: _ByName, others: _ByName, sds: _ByName, columns: tuple[str, ...]) -> Iterator[Shift]:
    labels = {"weights": [""], "means": columns, "scales": columns, "correlations": pair_names(columns)}
    for component in range(len(values["weights"])):
        for name in filter(values.__contains__, labels):
            parts = (np.atleast_1d(part[name][component]) for part in (values, others, sds))
            for label, value, reference, sd in zip(labels[name], *parts, strict=True):
                full = f"{LABELS[name]}[{', '.join(filter(None, (str(component), label)))}]"
                yield Shift(name=full, value=float(value), reference=float(reference), sd=float(sd))


def _texts(row: Shift) -> list[str]:
    digits = int(np.clip(2 - np.floor(np.log10(row.sd)), 0, 8)) if row.sd > 0 else 4
    numbers = ["-" if np.isnan(number) else f"{number:.{digits}f}" for number in (row.value, row.reference, row.sd)]
    return [row.name, *numbers, "-" if np.isnan(row.shift) else f"{row.shift:+.2f}"]


def _words(fit: EMFit | Posterior) -> str:
    table = fit.table
    table, noise = fit.table, fit.problem.noise is not None
    tails = fit.problem.degrees_of_freedom is not None
    remarks = (
        ("their gaps", table.has_gaps),
        ("their errors", table.has_errors),
        ("noise", noise),
        ("heavy tails", tails),
    )
    known = [name for name, found in remarks if found]
    return f"{table.n_points:,} rows" + f" with {' and '.join(known)}" * bool(known)
