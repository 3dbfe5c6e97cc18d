"""The maximum-likelihood fit beside the posterior: what the point estimate hides."""

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from .climb import EMStatus
from .diagnostics import summary
from .em_fit import EMFit
from .errors import ArgumentError, FitError
from .leave_one_out import LeaveOneOut, leave_one_out
from .posterior import Posterior
from .relabel import match
from .rows import PROBABILITY, Row, sentences, table
from .tree import lower_pairs, pair_names, parameters

CERTAIN = 0.9
"""A point is uncertain when its most probable component has less than this."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Parameters, predictive quality and assignments of points, by maximum likelihood and by the posterior.

    Attributes
    ----------
    rows
        One `Row` for each weight, mean, sd and correlation.
    loo
        Leave-one-out predictive density of the posterior; None when it could not be computed (`notes` say why).
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
        return np.flatnonzero(self.mle_responsibilities.argmax(1) != self.posterior_responsibilities.argmax(1))

    def to_csv(self, path: str | Path) -> None:
        """Write the rows, with all digits, to a CSV file."""
        records = [asdict(row) | {"shift": row.shift, "width_ratio": row.width_ratio} for row in self.rows]
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)

    def hidden(self) -> tuple[str, ...]:
        """Sentences on what the point estimate does not show."""
        return (*sentences(self.rows), _points(self))

    def __str__(self) -> str:
        sections = [
            _header(self),
            *table(self.rows),
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
    loo, unknown = _predictive(posterior)
    return Comparison(
        rows=tuple(_rows(parameters(mixture, posterior.table.columns), errors, posterior)),
        loo=loo,
        mle_responsibilities=mixture.responsibilities(x),
        posterior_responsibilities=posterior.responsibilities(),
        responsibilities_sd=posterior.responsibilities_sd(),
        mle=mle,
        posterior=posterior,
        notes=notes + unknown,
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


def _predictive(posterior: Posterior) -> tuple[LeaveOneOut | None, tuple[str, ...]]:
    try:
        return leave_one_out(posterior), ()
    except ValueError as error:  # ArviZ's answer to draws that do not differ
        return None, (f"No elpd_loo: its importance weights cannot be smoothed ({error}). Draw more samples.",)


def _common_order(mle: EMFit, posterior: Posterior) -> np.ndarray:
    return match(mle.mixture, posterior.mle.mixture, posterior.table.values)


def _standard_errors(mle: EMFit, order: np.ndarray) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    try:
        errors = {name: values[order] for name, values in mle.standard_errors.items()}
    except FitError as error:
        shapes = {name: np.shape(getattr(mle.mixture, name)) for name in ("weights", "means", "scales", "correlations")}
        errors = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
        return errors, (f"No standard errors. {error}",)
    return errors, ()


_NAMES = {"weights": "weight", "means": "mean", "scales": "sd", "correlations": "correlation"}


def _rows(estimates: dict[str, np.ndarray], errors: dict[str, np.ndarray], posterior: Posterior) -> Iterator[Row]:
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


def _points(comparison: Comparison) -> str:
    total = len(comparison.mle_responsibilities)
    uncertain, changed = len(comparison.uncertain_points), len(comparison.changed_points)
    return (
        f"Points that no component holds with probability {CERTAIN}: {uncertain} of {total}; points that change their "
        f"cluster: {changed}; largest posterior sd of a responsibility: {comparison.responsibilities_sd.max():.2f}."
    )


def _header(comparison: Comparison) -> str:
    data = comparison.posterior.table
    names = ", ".join(data.columns[:6]) + (", ..." if data.n_features > 6 else "")
    return (
        f"{data.name}: {data.n_points} points, {data.n_features} features ({names}), "
        f"{comparison.posterior.draws.n_components} components\n"
    )


def _criteria(comparison: Comparison) -> list[str]:
    mle, loo = comparison.mle, comparison.loo
    lines = [
        f"log-likelihood  {mle.log_likelihood:.6f} ({mle.status.name} after {mle.n_steps} steps)",
        f"starts          {_tally(mle)}",
        f"BIC             {mle.bic():.2f} ({mle.n_parameters} parameters)",
    ]
    if loo is not None:
        bad = f"; {loo.bad_points} points with a bad Pareto k" if loo.bad_points else ""
        lines.append(
            f"elpd_loo        {loo.elpd:.2f} +- {loo.standard_error:.2f} "
            f"({loo.effective_parameters:.1f} effective parameters{bad})"
        )
    verdict = comparison.posterior.verdict
    reasons = [f"{'':16}- {sentence}" for sentence in verdict.sentences]
    return [*lines, f"draws           {verdict.summary}", *reasons, *comparison.notes]


def _tally(mle: EMFit) -> str:
    """Where the starts ended: how many reached each log-likelihood, best first."""
    ended, behind = mle.start_statuses <= EMStatus.MAX_STEPS, int((mle.start_statuses == EMStatus.LEFT_BEHIND).sum())
    usable = mle.start_log_likelihoods[ended]
    values, counts = np.unique(usable.round(3), return_counts=True)
    parts = [f"{count} x {value:.3f}" for value, count in zip(values[::-1], counts[::-1], strict=True)]
    failed = len(mle.start_statuses) - len(usable) - behind
    shown = parts[:4] + ([f"{len(parts) - 4} other maxima"] if len(parts) > 4 else [])
    others = {"left behind": behind, "collapsed or failed": failed}
    return ", ".join(shown + [f"{count} {name}" for name, count in others.items() if count])
