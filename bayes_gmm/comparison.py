"""The maximum-likelihood fit beside the posterior: what the point estimate hides."""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import jax
import numpy as np

from .diagnostics import LeaveOneOut, leave_one_out, summary
from .em_fit import EMFit
from .errors import ArgumentError, FitError
from .posterior import Posterior
from .relabel import relabel
from .tree import lower_pairs, pair_names, parameters

PROBABILITY = 0.94
"""Mass of the posterior intervals."""

CERTAIN = 0.9
"""A point is uncertain when its most probable component has less than this."""

_SHIFTED = 0.5
_WIDER = 1.25


@dataclass(frozen=True, kw_only=True)
class Row:
    """One parameter, estimated both ways; `shift` is in posterior sds, `width_ratio` is sd over standard error."""

    component: int
    parameter: str
    feature: str
    estimate: float
    standard_error: float
    mean: float
    sd: float
    lower: float
    upper: float
    r_hat: float
    ess: float

    @property
    def name(self) -> str:
        """Parameter with its component and feature, such as "mean[0, waiting]"."""
        return f"{self.parameter}[{', '.join(filter(None, (str(self.component), self.feature)))}]"

    @property
    def shift(self) -> float:
        """How far the posterior mean lies from the estimate, in posterior sds."""
        return (self.mean - self.estimate) / self.sd if self.sd > 0 else 0.0

    @property
    def width_ratio(self) -> float:
        """Posterior sd divided by the standard error."""
        return self.sd / self.standard_error if self.standard_error > 0 else np.nan


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Parameters, predictive quality and assignments of points, by maximum likelihood and by the posterior.

    Attributes
    ----------
    rows
        One `Row` for each weight, mean, sd and correlation.
    loo
        Leave-one-out predictive density of the posterior; None when the table is too large to keep the pointwise
        log-likelihood.
    mle_responsibilities, posterior_responsibilities, responsibilities_sd : (N, K)
        Soft assignments at the estimate, their posterior mean and posterior sd.
    notes
        What could not be computed, and why.
    """

    rows: tuple[Row, ...]
    loo: LeaveOneOut | None
    mle_responsibilities: np.ndarray = field(repr=False)
    posterior_responsibilities: np.ndarray = field(repr=False)
    responsibilities_sd: np.ndarray = field(repr=False)
    mle: EMFit = field(repr=False)
    posterior: Posterior = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def uncertain_points(self) -> np.ndarray:
        """Indices of the points whose most probable component has a posterior probability below 0.9."""
        return np.flatnonzero(self.posterior_responsibilities.max(1) < CERTAIN)

    @property
    def changed_points(self) -> np.ndarray:
        """Indices of the points whose most probable component differs between the two."""
        return np.flatnonzero(
            self.mle_responsibilities.argmax(1) != self.posterior_responsibilities.argmax(1)
        )

    def hidden(self) -> tuple[str, ...]:
        """Sentences on what the point estimate does not show."""
        return tuple([*_moving(self.rows), *_wider(self.rows), *_skewed(self.rows), _points(self)])

    def to_csv(self, path: str | Path) -> None:
        """Write the rows, with all digits, to a CSV file."""
        records = [asdict(row) | {"shift": row.shift, "width_ratio": row.width_ratio} for row in self.rows]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)

    def __str__(self) -> str:
        sections = [
            _header(self),
            *_table(self.rows),
            "",
            *_criteria(self),
            "",
            "What the point estimate hides",
        ]
        return "\n".join([*sections, *(f"  - {line}" for line in self.hidden())])

    __repr__ = __str__


def compare(mle: EMFit, posterior: Posterior) -> Comparison:
    """Put an EM fit and a posterior of the same table side by side, under the labels of the posterior.

    Raises
    ------
    ArgumentError
        When the two are of different tables or numbers of components.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("faithful")
    >>> mle = bg.fit_em(x, n_components=2)
    >>> posterior = bg.fit_nuts(x, n_components=2, start=mle, progress=False)
    >>> print(bg.compare(mle, posterior))  # doctest: +SKIP
    """
    _check_same(mle, posterior)
    x = posterior.table.values
    order = _common_order(mle, posterior)
    mixture = mle.mixture.permute(order)
    errors, notes = _standard_errors(mle, order)
    return Comparison(
        rows=tuple(_rows(parameters(mixture, posterior.table.columns), errors, posterior)),
        loo=leave_one_out(posterior.tree) if "log_likelihood" in posterior.tree else None,
        mle_responsibilities=mixture.responsibilities(x),
        posterior_responsibilities=posterior.responsibilities(),
        responsibilities_sd=posterior.responsibilities_sd(),
        mle=mle,
        posterior=posterior,
        notes=notes,
    )


def _check_same(mle: EMFit, posterior: Posterior) -> None:
    same_table = np.array_equal(mle.table.values, posterior.table.values)
    if not same_table or mle.mixture.n_components != posterior.draws.n_components:
        raise ArgumentError(
            f"The EM fit has {mle.mixture.n_components} components on {mle.table.n_points} points, the posterior "
            f"{posterior.draws.n_components} on {posterior.table.n_points}.",
            "two fits of the same table with the same number of components",
            "Fit both to the same table: fit_nuts(x, K, start=fit_em(x, K)).",
        )


def _common_order(mle: EMFit, posterior: Posterior) -> np.ndarray:
    batch = jax.tree.map(lambda leaf: np.asarray(leaf)[None], mle.mixture)
    return relabel(batch, posterior.mle.mixture, posterior.table.values).permutations[0]


def _standard_errors(mle: EMFit, order: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    try:
        errors = {name: values[order] for name, values in mle.standard_errors.items()}
    except FitError as error:
        shapes = {
            name: np.shape(getattr(mle.mixture, name))
            for name in ("weights", "means", "scales", "correlations")
        }
        errors = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
        return errors, (f"No standard errors. {error}",)
    return errors, ()


_NAMES = {"weights": "weight", "means": "mean", "scales": "sd", "correlations": "correlation"}


def _rows(
    estimates: dict[str, np.ndarray], errors: dict[str, np.ndarray], posterior: Posterior
) -> Iterator[Row]:
    """Component by component: weight, means, sds, correlations."""
    columns = posterior.table.columns
    labels = {"weights": [""], "means": columns, "scales": columns, "correlations": pair_names(columns)}
    errors = errors | {"correlations": lower_pairs(errors["correlations"])}
    found = summary(posterior.tree["posterior"].to_dataset(), probability=PROBABILITY)
    for component in range(posterior.draws.n_components):
        for name in estimates:
            columns_of = {"estimate": estimates[name], "standard_error": errors[name]}
            columns_of |= {field: values[name].values for field, values in found.items()}
            parts = {field: np.atleast_1d(values[component]) for field, values in columns_of.items()}
            for i, label in enumerate(labels[name]):
                numbers = {field: float(values[i]) for field, values in parts.items()}
                yield Row(component=component, parameter=_NAMES[name], feature=label, **numbers)


def _listed(rows: list[Row]) -> str:
    names = [row.name for row in rows[:4]]
    return ", ".join(names) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")


def _moving(rows: tuple[Row, ...]) -> Iterator[str]:
    moved = sorted((row for row in rows if abs(row.shift) > _SHIFTED), key=lambda row: -abs(row.shift))
    largest = max(rows, key=lambda row: abs(row.shift))
    if moved:
        yield (
            f"{len(moved)} of {len(rows)} parameters move by more than {_SHIFTED} posterior sd: {_listed(moved)}."
        )
    yield f"The largest shift from estimate to posterior mean is {largest.shift:+.2f} sd, of {largest.name}."


def _wider(rows: tuple[Row, ...]) -> Iterator[str]:
    wider = [row for row in rows if row.width_ratio > _WIDER]
    narrower = [row for row in rows if row.width_ratio < 1 / _WIDER]
    for which, word in ((wider, "wider"), (narrower, "narrower")):
        if which:
            yield f"The posterior is much {word} than the standard error says for {_listed(which)}."


def _skewed(rows: tuple[Row, ...]) -> Iterator[str]:
    """Intervals whose longer arm exceeds the shorter by a quarter or more."""
    arms = [(row, row.upper - row.mean, row.mean - row.lower) for row in rows if row.sd > 0]
    skewed = [row for row, right, left in arms if max(right, left) > _WIDER * min(right, left)]
    if skewed:
        yield f"An interval of estimate plus or minus is wrong for {_listed(skewed)}: the posterior is skewed."


def _points(comparison: Comparison) -> str:
    total = len(comparison.mle_responsibilities)
    uncertain, changed = len(comparison.uncertain_points), len(comparison.changed_points)
    widest = comparison.responsibilities_sd.max()
    return (
        f"{uncertain} of {total} points have no component with probability {CERTAIN} or more, {changed} change "
        f"their cluster; a responsibility is uncertain by up to {widest:.2f} (posterior sd)."
    )


def _header(comparison: Comparison) -> str:
    table = comparison.posterior.table
    names = ", ".join(table.columns[:6]) + (", ..." if table.n_features > 6 else "")
    return (
        f"{table.name}: {table.n_points} points, {table.n_features} features ({names}), "
        f"{comparison.posterior.draws.n_components} components\n"
    )


def _table(rows: tuple[Row, ...]) -> list[str]:
    label_width = max(22, *(len(f"  {row.parameter} {row.feature}") for row in rows))
    lines = [
        f"{'':{label_width}}   {'maximum likelihood':>21}   {'posterior':^43}",
        f"{'':{label_width}}   {'estimate':>10} {'std error':>10}   {'mean':>10} {'sd':>9} "
        f"{f'{PROBABILITY:.0%} interval':>22}   {'R-hat':>6} {'ESS':>6}",
    ]
    for row in rows:
        if row.parameter == "weight":
            lines.append(f"component {row.component}")
        lines.append(f"{f'  {row.parameter} {row.feature}':{label_width}}   {_numbers(row)}")
    return lines


def _numbers(row: Row) -> str:
    digits = int(np.clip(2 - np.floor(np.log10(row.sd)), 0, 8)) if row.sd > 0 else 4
    number = lambda value: "-" if np.isnan(value) else f"{value:.{digits}f}"  # noqa: E731
    interval = f"[{number(row.lower)}, {number(row.upper)}]"
    r_hat, ess = ("-", "-") if np.isnan(row.r_hat) else (f"{row.r_hat:.3f}", f"{row.ess:.0f}")
    return (
        f"{number(row.estimate):>10} {number(row.standard_error):>10}   {number(row.mean):>10} {number(row.sd):>9} "
        f"{interval:>22}   {r_hat:>6} {ess:>6}"
    )


def _criteria(comparison: Comparison) -> list[str]:
    mle, loo = comparison.mle, comparison.loo
    lines = [
        f"log-likelihood  {mle.log_likelihood:.6f} ({mle.status.name} after {mle.n_steps} steps)",
        f"starts          {_tally(mle)}",
        f"BIC             {mle.bic():.2f} ({mle.n_parameters} parameters)",
    ]
    if loo is None:
        lines.append("elpd_loo        not computed: too many points to keep the log-likelihood of each")
    else:
        bad = f"; {loo.bad_points} points with a bad Pareto k" if loo.bad_points else ""
        lines.append(
            f"elpd_loo        {loo.elpd:.2f} +- {loo.standard_error:.2f} "
            f"({loo.effective_parameters:.1f} effective parameters{bad})"
        )
    verdict = str(comparison.posterior.verdict).replace("\n", "\n" + 14 * " ")
    return [*lines, f"draws           {verdict}", *comparison.notes]


def _tally(mle: EMFit) -> str:
    """Where the starts ended: how many reached each log-likelihood, best first."""
    usable = mle.start_log_likelihoods[mle.start_statuses <= 1]
    values, counts = np.unique(usable.round(3), return_counts=True)
    parts = [f"{count} x {value:.3f}" for value, count in zip(values[::-1], counts[::-1], strict=True)]
    failed = len(mle.start_statuses) - len(usable)
    shown = parts[:4] + ([f"{len(parts) - 4} other maxima"] if len(parts) > 4 else [])
    return ", ".join(shown + ([f"{failed} collapsed or failed"] if failed else []))
