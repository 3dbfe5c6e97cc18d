"""The maximum-likelihood fit beside the posterior, and what a point estimate does not show."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from bayes_gmm.assessment.bootstrap import Bootstrap
from bayes_gmm.assessment.leave_one_out import LeaveOneOut
from bayes_gmm.assessment.parameter_comparison import Row, compare_parameters, html, table
from bayes_gmm.assessment.parameter_shifts import ParameterShifts, parameter_shifts, plain_fit
from bayes_gmm.assessment.predictive_scores import Scores, score
from bayes_gmm.assessment.sentences import Misfit, sentences
from bayes_gmm.clustering.label_agreement import LabelAgreement, agreement
from bayes_gmm.clustering.point_assignments import Points
from bayes_gmm.core.export import Record, counted, write_csv, write_json
from bayes_gmm.core.validation import one_of
from bayes_gmm.errors import ArgumentError, DataError, FitError
from bayes_gmm.io.rows import rows_of
from bayes_gmm.mixture.noise import same_box
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.relabelling import match
from bayes_gmm.posterior.verdict import VerdictStatus

PARTS = ("parameters", "scores", "points")

_BYTES_OF_HTML = 2950
"""Size of the HTML for a notebook, which is saved with it: the tests allow 3000 bytes, and 50 are in reserve."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """Parameters, predictive quality and assignments of points, by maximum likelihood and by the posterior.

    Prints as a table, in a terminal and in a notebook.

    Attributes
    ----------
    rows
        One `Row` for each weight, mean, sd and correlation, and with noise one for its weight.
    scores
        Log-likelihood, leave-one-out and held-out predictive density.
    points
        Soft assignments by both fits, and which points are uncertain.
    mle, posterior
        The two fits.
    shifts
        How the maximum-likelihood answer changes against the plain Gaussian fit to the complete rows; None where that
        is the answer, or could not be fitted (`notes` say why).
    notes
        What could not be computed and why, and whether the two fits have different covariance structures.
    """

    rows: tuple[Row, ...]
    scores: Scores
    points: Points
    mle: EMFit = field(repr=False)
    posterior: Posterior = field(repr=False)
    shifts: ParameterShifts | None = None
    notes: tuple[str, ...] = ()

    @property
    def loo(self) -> LeaveOneOut | None:
        """Leave-one-out predictive density of the posterior; None when it could not be computed (`notes` say why)."""
        return self.scores.loo

    @property
    def uncertain_points(self) -> Int[np.ndarray, " uncertain"]:
        """Indices of the points whose most probable component has a posterior probability below 0.9."""
        return self.points.uncertain

    @property
    def changed_points(self) -> Int[np.ndarray, " changed"]:
        """Indices of the points whose most probable component by the posterior is not that by maximum likelihood."""
        return self.points.changed

    @cached_property
    def label_agreement(self) -> LabelAgreement | None:
        """Most probable components against the labels of the table; None where it has none."""
        table = self.posterior.table
        if table.labels is None:
            return None
        unseen = np.isnan(table.values).all(1)
        components = np.where(unseen, -1, self.points.components)
        return agreement(table.labels, components, self.posterior.draws.n_components, table.labels_from)

    def records(self, part: str = "parameters") -> list[Record]:
        """A list of dictionaries, ready for a data frame: of "parameters", "scores" or "points".

        Raises
        ------
        ArgumentError
            When there is no such part.
        """
        one_of("part", part, PARTS, 'The default is "parameters".')
        if part == "parameters":
            return [row.record() for row in self.rows]
        return self.scores.records() if part == "scores" else self.points.records()

    def to_csv(self, path: str | Path, part: str = "parameters") -> None:
        """Write the records of a part, with all digits, to a CSV file; `OutputError` when it cannot be written."""
        write_csv(self.records(part), path)

    def to_json(self, path: str | Path) -> None:
        """Write `record()` to a JSON file; `OutputError` when it cannot be written."""
        write_json(self.record(), path)

    def record(self) -> Record:
        """All parts, the verdict, `hidden()` and the notes as dictionaries, lists, texts and numbers."""
        parts = {part: self.records(part) for part in PARTS}
        verdict = self.posterior.verdict
        found = self.label_agreement
        return {
            "table": self.posterior.table.name,
            "n_points": self.posterior.table.n_points,
            "n_components": self.posterior.draws.n_components,
            "verdict": {**verdict.judgements(), "reasons": verdict.reasons, "notes": verdict.notes},
            **parts,
            "hidden": self.hidden(),
            **({} if self.shifts is None else {"shifts": self.shifts.records()}),
            "left_out": self.posterior.table.left_out,
            "missing_cells": self.posterior.table.gaps,
            **({} if found is None else {"adjusted_rand_index": found.adjusted_rand_index, "labels": found.records()}),
            "notes": self.notes,
        }

    def hidden(self) -> tuple[str, ...]:
        """Sentences on what the likelihood says beside its maximum, on what the prior adds, and on uncertain points."""
        return (*sentences(self.rows, self._misfit), self.points.sentence())

    @property
    def _misfit(self) -> Misfit:
        same = self.mle.structure == self.posterior.problem.structure
        deficit = self.mle.log_likelihood - self.scores.mean_log_likelihood
        return Misfit(deficit if same else np.nan, self.mle.n_parameters)

    def __str__(self) -> str:
        sections = [
            *_header(self),
            "",
            *table(self.rows),
            "",
            *_criteria(self),
            "",
            "What the point estimate hides",
        ]
        found = self.label_agreement
        beside = [] if found is None else ["", *found.lines()]
        moved = [] if self.shifts is None else ["", *self.shifts.lines()]
        return "\n".join([*sections, *(f"  - {line}" for line in self.hidden()), *moved, *beside])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        listed = "".join(f"<li>{escape(line)}" for line in (*self.hidden(), self.posterior.verdict.summary))
        head, tail = escape("\n".join(_header(self))), f"<p>What the point estimate hides<ul>{listed}</ul>"
        return f"<p>{head}{html(self.rows, _BYTES_OF_HTML - len((head + tail).encode()))}{tail}"


def compare(mle: EMFit, posterior: Posterior, *, bootstrap: Bootstrap | None = None, x_test: Any = None) -> Comparison:
    """Put an EM fit and a posterior of the same table side by side, under the labels of the posterior.

    Parameters
    ----------
    mle
        What `fit_em` returned.
    posterior
        What `fit_nuts` returned. When its verdict is BAD, the head of the table says so.
    bootstrap
        What `bg.bootstrap(mle)` returned, for standard errors by resampling beside those from the information matrix.
    x_test : (M, D)
        Points that neither fit has seen, to score the predictions of both.

    Raises
    ------
    ArgumentError
        When the two are of different tables, columns or numbers of components, or an argument cannot be used.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("faithful")
    >>> mle = bg.fit_em(x, n_components=2)
    >>> posterior = bg.fit_nuts(x, n_components=2, start=mle, progress=False)
    >>> comparison = bg.compare(mle, posterior)
    >>> [row.name for row in comparison.rows if abs(row.shift) > 0.5]
    []
    >>> max(row.prior_sensitivity for row in comparison.rows) < 0.05  # to the prior of any part
    True
    """
    _check_same(mle, posterior, bootstrap)
    data = posterior.table
    order = match(mle.mixture, posterior.mle.mixture, data.values)
    parameters = compare_parameters(mle, posterior, bootstrap, order)
    points = (
        None
        if x_test is None
        else rows_of("points of x_test", x_test, data.n_features, columns=data.columns, gaps=True)
    )
    scores = score(mle, posterior, points)
    shifts, of_shifts = _shifts(mle)
    return Comparison(
        rows=parameters.rows,
        scores=scores,
        points=Points(
            mle_responsibilities=mle.responsibilities()[:, order],
            responsibilities=posterior.responsibilities(),
            responsibilities_sd=posterior.responsibilities_sd(),
            noise_sd=None if posterior.draws.noise is None else posterior.noise_probability_sd(),
        ),
        mle=mle,
        posterior=posterior,
        shifts=shifts,
        notes=(*_differences(mle, posterior), *mle.doubts, *parameters.notes, *scores.notes, *of_shifts),
    )


def _shifts(mle: EMFit) -> tuple[ParameterShifts | None, tuple[str, ...]]:
    """Shifts against the plain fit to complete rows where the fit is another one, or a note why there are none."""
    if mle.problem.is_plain:
        return None, ()
    try:
        return parameter_shifts(mle, plain_fit(mle).check()), ()
    except (DataError, FitError) as error:
        return None, (f"No comparison with the plain fit. {error}",)


def _check_same(mle: Any, posterior: Any, bootstrap: Any) -> None:
    """Raise `ArgumentError` when the arguments are not fits of the same table with as many components."""
    given = {"mle": (mle, EMFit), "posterior": (posterior, Posterior), "bootstrap": (bootstrap, Bootstrap | None)}
    for name, (value, wanted) in given.items():
        if not isinstance(value, wanted):
            raise ArgumentError(
                f"{name} is of type {type(value).__name__}.",
                "compare(mle, posterior, bootstrap=None) with an EMFit, a Posterior and a Bootstrap",
                "Give what fit_em, fit_nuts and bootstrap return, in this order.",
            )
    if found := _mismatch(mle, posterior):
        raise ArgumentError(
            found,
            "two fits of the same table with the same number of components",
            "Fit both to the same table: fit_nuts(x, K, start=fit_em(x, K)).",
        )
    if bootstrap is not None and bootstrap.fit is not mle:
        raise ArgumentError("bootstrap is of another fit than mle.", "resampling of that fit", "Give bootstrap(mle).")


def _mismatch(mle: EMFit, posterior: Posterior) -> str:
    """A sentence on why the two cannot be compared, or an empty text."""
    ours, theirs = mle.table, posterior.table
    K, other_K = mle.mixture.n_components, posterior.draws.n_components
    if ours.columns != theirs.columns:
        return f"The EM fit has the columns {', '.join(ours.columns)}, the posterior {', '.join(theirs.columns)}."
    if not same_box(mle.problem.noise, posterior.problem.noise):
        return "The EM fit and the posterior have different noise, or one of the two has none."
    if (mle.problem.degrees_of_freedom is None) != (posterior.problem.degrees_of_freedom is None):
        return "One of the EM fit and the posterior is of t distributions, the other of Gaussians."
    if ours.n_points != theirs.n_points:
        return f"The EM fit is of {ours.n_points} points, the posterior of {theirs.n_points}."
    if not ours.has_values_of(theirs):
        same = (ours.values == theirs.values) | (np.isnan(ours.values) & np.isnan(theirs.values))
        rows = int((~same).any(1).sum())
        return f"The EM fit and the posterior are of different data: {rows} of {ours.n_points} rows differ."
    return "" if K == other_K else f"The EM fit has {K} components, the posterior {other_K}."


def _differences(mle: EMFit, posterior: Posterior) -> Iterator[str]:
    """Notes on differences of the models that do not prevent a comparison."""
    if mle.structure != posterior.problem.structure:
        yield (
            f"The covariances differ: {mle.structure.name} in the EM fit, {posterior.problem.structure.name} in the "
            "posterior."
        )


def _header(comparison: Comparison) -> list[str]:
    """Lines above the table: the data, and a warning when the verdict is BAD."""
    data, verdict = comparison.posterior.table, comparison.posterior.verdict
    names = ", ".join(data.columns[:6]) + (", ..." if data.n_features > 6 else "")
    head = (
        f"{data.name}: {data.n_points} points, {counted(data.n_features, 'feature')} ({names}), "
        f"{counted(comparison.posterior.draws.n_components, 'component')}"
    )
    if verdict.sampling is not VerdictStatus.BAD:
        return [head, *data.remarks]
    return [head, *data.remarks, f"THE DRAWS ARE BAD, and the posterior's numbers with them: {verdict.reasons[0]}"]


def _criteria(comparison: Comparison) -> list[str]:
    """Lines below the table: scores, starts of EM, the verdict and the notes."""
    mle, scores = comparison.mle, comparison.scores
    lines = [
        f"log-likelihood  {mle.log_likelihood:.6f} ({mle.status.name} after {mle.n_steps} steps); "
        f"posterior mean {scores.mean_log_likelihood:.2f}",
        f"starts          {_tally(mle)}",
        f"BIC             {mle.bic():.2f} ({mle.n_parameters} parameters)",
    ]
    if scores.loo is not None:
        loo, bad = scores.loo, scores.loo.bad_points
        lines.append(
            f"elpd_loo        {loo.elpd:.2f} +- {loo.standard_error:.2f} ({loo.effective_parameters:.1f} effective "
            f"parameters{f'; {bad} points with a bad Pareto k' if bad else ''})"
        )
    if scores.held_out is not None:
        held = scores.held_out
        lines.append(
            f"held out        {held.mle:.4f} by maximum likelihood, {held.posterior:.4f} by the posterior, in nats a "
            f"point of {held.n_points} (difference {held.difference:+.4f} +- {held.difference_error:.4f})"
        )
    verdict = comparison.posterior.verdict
    reasons = [f"{'':16}- {sentence}" for sentence in verdict.sentences]
    return [*lines, f"draws           {verdict.summary}", *reasons, *comparison.notes]


def _tally(mle: EMFit) -> str:
    """How many starts of EM reached each log-likelihood, best first, and how many failed."""
    ended, behind = mle.start_statuses <= EMStatus.MAX_STEPS, int((mle.start_statuses == EMStatus.LEFT_BEHIND).sum())
    usable = mle.start_log_likelihoods[ended]
    values, counts = np.unique(usable.round(3), return_counts=True)
    parts = [f"{count} x {value:.3f}" for value, count in zip(values[::-1], counts[::-1], strict=True)]
    failed = len(mle.start_statuses) - len(usable) - behind
    shown = parts[:4] + ([f"{len(parts) - 4} other maxima"] if len(parts) > 4 else [])
    others = {"left behind": behind, "collapsed or failed": failed}
    return ", ".join(shown + [f"{count} {name}" for name, count in others.items() if count])
