"""The rows of a comparison, one parameter each: their numbers and their tables."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.assessment.bootstrap import Bootstrap
from bayes_gmm.assessment.normal_approximation import flags, gaussian_at_mode
from bayes_gmm.assessment.prior_sensitivity import INFORMATIVE, prior_sensitivity
from bayes_gmm.bayes.prior_densities import PRIOR_PARTS
from bayes_gmm.core.export import Record, html_table
from bayes_gmm.errors import FitError
from bayes_gmm.mixture.degrees_of_freedom import COMMON
from bayes_gmm.mixture.parameter_names import DEGREES_LABEL, NOISE_LABEL, labels_of
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.standard_errors import reported
from bayes_gmm.posterior.arviz_tree import lower_pairs, pair_names, parameters
from bayes_gmm.posterior.diagnostics import LARGEST_AMBIGUITY, summary
from bayes_gmm.posterior.posterior import Posterior

PROBABILITY = 0.94
"""Mass of the posterior intervals."""

PRIOR, AMBIGUOUS = "prior", "ambiguous"
"""Flags of parameters on which a part of the prior has a noticeable influence, and of components without a name."""

_IN_DOUBT = "?"
"""Mark of standard errors that are doubted."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One parameter of one component by both fits.

    Attributes
    ----------
    component, parameter, feature
        Number of the component, "weight", "mean", "sd" or "correlation", and the feature or the pair of features. The
        weight of noise has the component -1 and the parameter "noise weight". Of t distributions there are "scale", the
        root of the scatter's diagonal, in place of "sd", and "degrees of freedom", with the component -1 where they are
        common to all.
    estimate, standard_error
        By maximum likelihood; the error is NaN where it could not be computed.
    error_doubted
        Whether the standard errors of the component are in doubt (`EMFit.error_doubts`).
    bootstrap_error
        Standard error by resampling; NaN without a bootstrap.
    mean, sd, lower, upper
        Posterior mean, standard deviation, and ends of the central 94% interval.
    mode, laplace_sd
        Value at the mode of the posterior, and sd of the Gaussian around it; NaN when there is no proper mode.
    r_hat, ess
        Diagnostics of the draws: rank-normalised split R-hat and bulk effective sample size.
    sensitivity_weights, sensitivity_means, sensitivity_scales, sensitivity_correlations
        Power-scaling sensitivity to each part of the prior (`prior_sensitivity`): above 0.05 the part is informative.
        NaN for a part that the prior holds, and for a parameter that does not vary.
    prior_shift
        Posterior mean less that without the prior, in posterior sds.
    ambiguity
        Share of the draws in which the component holds less than half of its points, so is another one.
    flag
        "ambiguous" where that share is above 5 %, so that the component cannot be named; why the draws differ from that
        Gaussian: "skew", "boundary", "second mode" or "tails"; "prior" where a part of the prior is informative;
        several, such as "skew, prior"; or empty.
    """

    component: int
    parameter: str
    feature: str
    estimate: float
    standard_error: float
    error_doubted: bool = False
    bootstrap_error: float = np.nan
    mean: float
    sd: float
    lower: float
    upper: float
    mode: float = np.nan
    laplace_sd: float = np.nan
    r_hat: float
    ess: float
    sensitivity_weights: float = np.nan
    sensitivity_means: float = np.nan
    sensitivity_scales: float = np.nan
    sensitivity_correlations: float = np.nan
    prior_shift: float = np.nan
    ambiguity: float = np.nan
    flag: str = ""

    @property
    def name(self) -> str:
        """Parameter with its component and feature, such as "mean[0, waiting]"."""
        if self.component < 0:
            return self.parameter
        return f"{self.parameter}[{', '.join(filter(None, (str(self.component), self.feature)))}]"

    @property
    def shift(self) -> float:
        """How far the posterior mean lies from the estimate, in posterior sds."""
        return (self.mean - self.estimate) / self.sd if self.sd > 0 else 0.0

    @property
    def width_ratio(self) -> float:
        """Posterior sd divided by the standard error."""
        return self.sd / self.standard_error if self.standard_error > 0 else np.nan

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags one by one."""
        return tuple(filter(None, self.flag.split(", ")))

    @property
    def prior_part(self) -> str:
        """Part of the prior to which the sensitivity is largest; empty where none is known."""
        return max(self._sensitivities, key=self._sensitivities.__getitem__, default="")

    @property
    def prior_sensitivity(self) -> float:
        """The largest of the four sensitivities; NaN where none is known."""
        return max(self._sensitivities.values(), default=np.nan)

    @property
    def _sensitivities(self) -> dict[str, float]:
        """Those that are known, by the part of the prior."""
        values = {part: getattr(self, f"sensitivity_{part}") for part in PRIOR_PARTS}
        return {part: value for part, value in values.items() if not np.isnan(value)}

    def record(self) -> Record:
        """The fields, `shift`, `width_ratio`, `prior_part` and `prior_sensitivity` as one dictionary."""
        derived = ("shift", "width_ratio", "prior_part", "prior_sensitivity")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of the table for the terminal, component by component."""
    label_width = max(22, *(len(f"  {row.parameter} {row.feature}") for row in rows))
    resampled = _has_bootstrap(rows)
    lines = [
        f"{'':{label_width}}   {'maximum likelihood':>21}{' ' * 11 * resampled}   {'posterior':^43}",
        f"{'':{label_width}}   {'estimate':>10} {'std error':>10}{'  bootstrap' * resampled}   {'mean':>10} {'sd':>9} "
        f"{f'{PROBABILITY:.0%} interval':>22}   {'R-hat':>6} {'ESS':>6}",
    ]
    lines = [line.rstrip() for line in lines]
    for row in rows:
        if row.component < 0:
            lines.append("noise" if row.parameter == NOISE_LABEL else "all components")
        elif row.parameter == "weight":
            lines.append(f"component {row.component}{_in_other_hands(row)}")
        lines.append(f"{f'  {row.parameter} {row.feature}':{label_width}}   {_line(row, resampled)}")
    return lines


def html(rows: Sequence[Row], most_bytes: int) -> str:
    """The table for a notebook, in HTML of at most `most_bytes`.

    Where not all rows fit, rows with a flag have precedence, then rows with the largest shift, and a sentence says how
    many are left out. The rows that are shown keep their order.
    """
    complete = html_table(*as_cells(rows, diagnostics=False))
    if len(complete.encode()) <= most_bytes:
        return complete
    ranked = sorted(range(len(rows)), key=lambda number: (not rows[number].flag, -abs(rows[number].shift)))

    def shortened(count: int) -> str:
        shown = [rows[number] for number in sorted(ranked[:count])]
        head_and_body = html_table(*as_cells(shown, diagnostics=False)) if shown else ""
        return head_and_body + f"<p>{len(rows) - count} parameters that move less are left out."

    # The size grows with the count, so the largest count that fits is found by bisection.
    count = bisect_right(range(1, len(rows)), most_bytes, key=lambda count: len(shortened(count).encode()))
    return shortened(count)


def as_cells(rows: Sequence[Row], *, diagnostics: bool) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table as texts, with the prior's part, R-hat and ESS on request, without empty columns."""
    head = ["", "estimate", "std error", "bootstrap", "mean", "sd", f"{PROBABILITY:.0%} interval", "shift"]
    head += ["by the prior", "sensitivity", "R-hat", "ESS"] * diagnostics + ["flag"]
    body = [_texts(row, diagnostics) for row in rows]
    kept = [i for i in range(len(head)) if any(cells[i] not in ("", "-") for cells in body)]
    return [head[i] for i in kept], [[cells[i] for i in kept] for cells in body]


def _texts(row: Row, diagnostics: bool) -> list[str]:
    estimate, error, *values, lower, upper = _numbers(row)
    more = (*_of_the_prior(row), *_quality(row)) if diagnostics else ()
    return [row.name, estimate, error + _doubt(row), *values, f"{lower}, {upper}", f"{row.shift:+.2f}", *more, row.flag]


def _of_the_prior(row: Row) -> tuple[str, str]:
    """The prior's part of the shift, and the largest sensitivity with the part of the prior to which it is."""
    known = f"{row.prior_sensitivity:.3f} ({row.prior_part})" if row.prior_part else "-"
    return "-" if np.isnan(row.prior_shift) else f"{row.prior_shift:+.2f}", known


def _numbers(row: Row) -> list[str]:
    """Estimate, both errors, mean, sd and interval, rounded to three significant digits of the sd."""
    digits = int(np.clip(2 - np.floor(np.log10(row.sd)), 0, 8)) if row.sd > 0 else 4
    errors = (row.standard_error, row.bootstrap_error)
    values = (row.estimate, *errors, row.mean, row.sd, row.lower, row.upper)
    return ["-" if np.isnan(value) else f"{value:.{digits}f}" for value in values]


def _line(row: Row, resampled: bool) -> str:
    estimate, error, bootstrap, mean, sd, lower, upper = _numbers(row)
    r_hat, ess = _quality(row)
    errors = f"{error:>10}{_doubt(row):1}" + f"{bootstrap:>10} " * resampled
    line = f"{estimate:>10} {errors}  {mean:>10} {sd:>9} {f'[{lower}, {upper}]':>22}   {r_hat:>6} {ess:>6}  {row.flag}"
    return line.rstrip()


def _doubt(row: Row) -> str:
    return _IN_DOUBT * (row.error_doubted and not np.isnan(row.standard_error))


def _in_other_hands(row: Row) -> str:
    """What stands behind the name of a component that has none."""
    return f" (ambiguous: another one in {row.ambiguity:.0%} of the draws)" * (AMBIGUOUS in row.flags)


def _quality(row: Row) -> tuple[str, str]:
    return ("-", "-") if np.isnan(row.r_hat) else (f"{row.r_hat:.3f}", f"{row.ess:.0f}")


def _has_bootstrap(rows: Sequence[Row]) -> bool:
    return not all(np.isnan(row.bootstrap_error) for row in rows)


type ByName = dict[str, Float[np.ndarray, "..."]]
"""Numbers of each component by the names of the parameters."""


class ParameterComparison(NamedTuple):
    """Rows of a comparison, and notes on their standard errors."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def compare_parameters(
    mle: EMFit, posterior: Posterior, bootstrap: Bootstrap | None, order: Int[np.ndarray, " K"]
) -> ParameterComparison:
    """One row for each parameter that can vary; the components of the EM fit are taken in the given order."""
    errors = _standard_errors(mle, order)
    resampled = _missing(mle) if bootstrap is None else _ordered(bootstrap.standard_errors, order)
    estimates = parameters(mle.mixture.permute(order), posterior.table.columns)
    if mle.problem.structure.is_diagonal and posterior.problem.structure.is_diagonal:
        estimates.pop("correlations", None)  # which are zero by assumption
    return ParameterComparison(tuple(_rows(estimates, errors, resampled, posterior)), errors.notes)


class _Errors(NamedTuple):
    values: ByName
    doubted: Bool[np.ndarray, " K"]
    notes: tuple[str, ...]


def _standard_errors(mle: EMFit, order: Int[np.ndarray, " K"]) -> _Errors:
    try:
        notes = tuple(f"{_IN_DOUBT} {doubt}" for doubt in mle.error_doubts)
        return _Errors(_ordered(mle.errors(), order), mle.doubted_components[order], notes)
    except FitError as error:
        return _Errors(_missing(mle), np.zeros(len(order), bool), (f"No standard errors. {error}",))


def _ordered(errors: ByName, order: Int[np.ndarray, " K"]) -> ByName:
    """Errors in the order of the components, with the pairs below the diagonal of the correlations."""
    ordered = {name: values[order] if np.ndim(values) else values for name, values in errors.items()}
    return ordered | {"correlations": lower_pairs(ordered["correlations"])}


def _missing(mle: EMFit) -> ByName:
    """NaN in place of every error."""
    shapes = {name: np.shape(getattr(mle.mixture, name)) for name in reported(mle.mixture)}
    errors = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    return errors | {"correlations": lower_pairs(errors["correlations"])}


def _rows(estimates: ByName, errors: _Errors, resampled: ByName, posterior: Posterior) -> Iterator[Row]:
    """Rows component by component: weight, means, sds, correlations; and what belongs to none of them."""
    columns = posterior.table.columns
    labels = {"weights": [""], "means": columns, "scales": columns, "correlations": pair_names(columns)}
    named, wanted = labels_of(posterior.draws), posterior.problem.degrees_of_freedom
    common = isinstance(wanted, str) and wanted == COMMON
    if not common:
        labels["degrees_of_freedom"] = [""]
    draws = posterior.tree["posterior"].to_dataset()
    found, prior = summary(draws, probability=PROBABILITY), prior_sensitivity(draws, posterior.log_prior)
    gaussian = gaussian_at_mode(posterior)
    reasons = flags(posterior, gaussian, PROBABILITY)

    def columns_of(name: str) -> dict[str, Any]:
        """Numbers of one parameter of all components, by the columns of the table."""
        columns = {
            "estimate": estimates[name],
            "standard_error": errors.values[name],
            "bootstrap_error": resampled[name],
            **{statistic: values[name].values for statistic, values in found.items()},
        }
        if gaussian is not None:
            columns |= {"mode": gaussian.mode[name], "laplace_sd": gaussian.sd[name]}
        columns |= {f"sensitivity_{part}": of_part[name] for part, of_part in prior.of_part.items()}
        return columns | {"prior_shift": prior.shift[name]}

    for component, ambiguity in enumerate(posterior.relabelling.ambiguous):
        in_doubt = AMBIGUOUS * bool(ambiguity > LARGEST_AMBIGUITY)
        of_component: dict[str, Any] = {
            "component": component,
            "ambiguity": float(ambiguity),
            "error_doubted": bool(errors.doubted[component]),
        }
        for name in labels:
            if name not in estimates:
                continue
            parts = {column: np.atleast_1d(values[component]) for column, values in columns_of(name).items()}
            why = np.atleast_1d(reasons[name][component])
            for i, label in enumerate(labels[name]):
                numbers: dict[str, Any] = {column: float(values[i]) for column, values in parts.items()}
                flag = ", ".join(filter(None, (in_doubt, str(why[i]), PRIOR * _is_informative(numbers))))
                of_row = of_component | {"parameter": named[name], "feature": label, "flag": flag}
                yield Row(**of_row, **numbers)
    of_all = {"degrees_of_freedom": DEGREES_LABEL} if common else {}
    for name, label in (of_all | {"noise_weight": NOISE_LABEL}).items():
        if name in estimates:
            numbers = {column: float(np.ravel(values)[0]) for column, values in columns_of(name).items()}
            flag = ", ".join(filter(None, (str(np.ravel(reasons[name])[0]), PRIOR * _is_informative(numbers))))
            yield Row(component=-1, parameter=label, feature="", flag=flag, **numbers)


def _is_informative(numbers: dict[str, float]) -> bool:
    """Whether the parameter with these numbers is sensitive to a part of the prior."""
    return any(numbers.get(f"sensitivity_{part}", 0.0) > INFORMATIVE for part in PRIOR_PARTS)
