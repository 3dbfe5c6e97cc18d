"""Comparison of several fits of one table: with other numbers of components, priors or covariance structures."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import LinearConstraint, minimize

from bayes_gmm.assessment.leave_one_out import LeaveOneOut, error_of_sum
from bayes_gmm.assessment.predictive_scores import attempt_leave_one_out
from bayes_gmm.core.export import Record, html_table, write_csv, write_json
from bayes_gmm.errors import ArgumentError
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.verdict import VerdictStatus


@dataclass(frozen=True, kw_only=True)
class Model:
    """One of the compared fits.

    Attributes
    ----------
    name, n_components, structure
        Name that the user gave, number of components, and name of the covariance structure.
    log_likelihood, n_parameters, aic, bic, icl
        Of the maximum-likelihood fit, which for a posterior is `Posterior.mle`.
    elpd_loo, elpd_loo_se
        Leave-one-out predictive density and its standard error; NaN for an EM fit.
    elpd_difference, elpd_difference_se
        Difference to the posterior with the largest `elpd_loo`, and its standard error.
    weight
        Stacking weight.
    bad_points
        Number of points whose Pareto k is too large.
    verdict
        Whether these are draws from the posterior (`Verdict.sampling`), on which its density and elpd_loo rest; empty
        for an EM fit.
    """

    name: str
    n_components: int
    structure: str
    log_likelihood: float
    n_parameters: int
    aic: float
    bic: float
    icl: float
    elpd_loo: float = np.nan
    elpd_loo_se: float = np.nan
    elpd_difference: float = np.nan
    elpd_difference_se: float = np.nan
    weight: float = np.nan
    bad_points: int | None = None
    verdict: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelComparison:
    """Fits of one table, best first: by elpd_loo where there are posteriors, by BIC otherwise.

    Attributes
    ----------
    models
        One `Model` for each fit.
    notes
        Remarks on scores that are missing or should be read with care.
    """

    models: tuple[Model, ...]
    notes: tuple[str, ...] = field(default=())

    def records(self) -> list[Record]:
        """One dictionary for each fit, ready for a data frame."""
        return [asdict(model) for model in self.models]

    def to_csv(self, path: str | Path) -> None:
        """Write the records, with all digits, to a CSV file; `OutputError` when it cannot be written."""
        write_csv(self.records(), path)

    def to_json(self, path: str | Path) -> None:
        """Write the records and the notes to a JSON file; `OutputError` when it cannot be written."""
        write_json({"models": self.records(), "notes": self.notes}, path)

    def __str__(self) -> str:
        head, rows = self._cells()
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = [
            "  ".join(
                f"{cell:<{width}}" if i in (0, 2) else f"{cell:>{width}}"
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (head, *rows)
        ]
        return "\n".join([*lines, *(f"  - {note}" for note in self.notes)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._cells()) + "".join(f"<p>{escape(note)}" for note in self.notes)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        head = ["", "K", "structure", "parameters", "log-likelihood", "BIC", "ICL", "elpd_loo", "difference", "weight"]
        return [*head, "draws"], [_cells(model) for model in self.models]


def compare_models(models: Mapping[str, Posterior | EMFit]) -> ModelComparison:
    r"""Compare fits of one table by BIC and ICL, and posteriors by leave-one-out predictive density and stacking.

    .. math:: \mathrm{elpd\_loo} = \sum_n \log p(x_n \mid x_{-n}), \qquad
              \max_w \sum_n \log \sum_m w_m \, p_m(x_n \mid x_{-n})

    Parameters
    ----------
    models
        Fits by their names: posteriors, or EM fits, which have no leave-one-out density.

    Raises
    ------
    ArgumentError
        When there are fewer than two, or they are of different tables.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), doi 10.1007/s11222-016-9696-4; stacking: Yao, Vehtari, Simpson and Gelman (2018),
    doi 10.1214/17-BA1091.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> x = bg.datasets.load("galaxies")
    >>> bg.compare_models({f"K={K}": bg.fit_em(x, n_components=K) for K in (2, 3)}).models[0].name
    'K=3'
    """
    fits = _checked(models)
    attempts = {name: attempt_leave_one_out(fit) for name, fit in fits.items() if isinstance(fit, Posterior)}
    loos = {name: attempt.loo for name, attempt in attempts.items() if attempt.loo is not None}
    stacked = _stack(loos)
    rows = [_model(name, fit, loos.get(name), stacked.get(name, {})) for name, fit in fits.items()]
    by_elpd = sorted(rows, key=lambda row: (np.isnan(row.elpd_loo), -np.nan_to_num(row.elpd_loo), row.bic))
    notes = [f"{name}: {note}" for name, attempt in attempts.items() for note in attempt.notes]
    return ModelComparison(models=tuple(by_elpd), notes=(*notes, *_notes(by_elpd, loos)))


def _checked(models: Any) -> dict[str, Posterior | EMFit]:
    """The fits by name; `ArgumentError` when they cannot be compared."""
    wanted = "a dictionary of at least two posteriors or EM fits by their names"
    call = 'For example compare_models({"K=2": fit_nuts(x, 2), "K=3": fit_nuts(x, 3)}).'
    if not isinstance(models, Mapping) or len(models) < 2:
        found = f"{len(models)} models are given." if isinstance(models, Mapping) else f"models is {models!r:.80}."
        raise ArgumentError(found, wanted, call)
    fits = {str(name): fit for name, fit in models.items()}
    for name, fit in fits.items():
        if not isinstance(fit, Posterior | EMFit):
            raise ArgumentError(f"{name!r} is of type {type(fit).__name__}.", wanted, call)
    first, *others = fits
    for name in others:
        one, other = fits[first].table, fits[name].table
        if one.columns != other.columns or not one.has_values_of(other):
            raise ArgumentError(
                f"{first!r} is a fit of {one.n_points} points of {', '.join(one.columns)}, {name!r} of other data: "
                f"{other.n_points} points of {', '.join(other.columns)}.",
                "fits of the same table",
                "Predictive densities of different data cannot be compared: fit both to the same table.",
            )
        if not np.array_equal(weights_of(fits[first]), weights_of(fits[name])):
            raise ArgumentError(
                f"{first!r} and {name!r} are fits with different weights of the rows.",
                "fits of the same table with the same sample_weight",
                "Give both fits the same sample_weight.",
            )
    return fits


def weights_of(fit: Posterior | EMFit) -> Float[np.ndarray, " N"]:
    """Weights of the rows."""
    return fit.problem.row_weights if isinstance(fit, Posterior) else fit.sample_weight


def _stack(loos: dict[str, LeaveOneOut]) -> dict[str, Record]:
    """Fields of `Model` for each posterior: difference to the best, its standard error, and stacking weight."""
    if not loos:
        return {}
    pointwise = np.array([loo.pointwise for loo in loos.values()])
    weights = next(iter(loos.values())).sample_weight
    best = max(loos.values(), key=lambda loo: loo.elpd)
    differences = pointwise - best.pointwise
    columns = {
        "elpd_difference": [loo.elpd - best.elpd for loo in loos.values()],
        "elpd_difference_se": error_of_sum(differences, weights, ddof=0),
        "weight": stacking_weights(pointwise, weights),
    }
    rows = zip(*columns.values(), strict=True)
    return {name: dict(zip(columns, map(float, row), strict=True)) for name, row in zip(loos, rows, strict=True)}


def _model(name: str, fit: Posterior | EMFit, loo: LeaveOneOut | None, stacked: Record) -> Model:
    mle = fit.mle if isinstance(fit, Posterior) else fit
    of_posterior: Record = {"verdict": fit.verdict.judgements()["sampling"]} if isinstance(fit, Posterior) else {}
    if loo is not None:
        of_posterior |= {"elpd_loo": loo.elpd, "elpd_loo_se": loo.standard_error, "bad_points": loo.bad_points}
    return Model(
        name=name,
        n_components=mle.mixture.n_components,
        structure=mle.structure.name,
        log_likelihood=mle.log_likelihood,
        n_parameters=mle.n_parameters,
        aic=mle.aic(),
        bic=mle.bic(),
        icl=mle.icl(),
        **of_posterior,
        **stacked,
    )


def _notes(models: list[Model], loos: dict[str, LeaveOneOut]) -> Iterator[str]:
    bad = [model.name for model in models if model.verdict == VerdictStatus.BAD.name]
    if bad:
        yield f"The draws of {', '.join(bad)} are BAD, and what is said of their elpd_loo with them."
    doubtful = [f"{model.name} ({model.bad_points})" for model in models if model.bad_points]
    if doubtful:
        yield f"Points with a bad Pareto k, whose elpd_loo may be too high: {', '.join(doubtful)}."
    if any(loo.n_evaluated < len(loo.pointwise) for loo in loos.values()):
        yield "Of this many points only some were left out in turn: differences hold the error of that choice."


def _cells(model: Model) -> list[str]:
    def number(value: float, digits: int = 2) -> str:
        return "-" if np.isnan(value) else f"{value:.{digits}f}"

    error = "" if np.isnan(model.elpd_loo) else f" +- {number(model.elpd_loo_se)}"
    spread = "" if not model.elpd_difference_se > 0 else f" +- {number(model.elpd_difference_se)}"
    return [
        model.name,
        str(model.n_components),
        model.structure,
        str(model.n_parameters),
        number(model.log_likelihood),
        number(model.bic),
        number(model.icl),
        number(model.elpd_loo) + error,
        number(model.elpd_difference) + spread,
        number(model.weight),
        model.verdict,
    ]


def stacking_weights(
    pointwise: Float[np.ndarray, "M N"], sample_weight: Float[np.ndarray, " N"] | None = None
) -> Float[np.ndarray, " M"]:
    r"""Weights of M models, from their leave-one-out log predictive densities of N points.

    .. math:: \max_w \frac1N \sum_n \log \sum_m w_m \, p_m(x_n \mid x_{-n}), \quad w_m \ge 0, \; \sum_m w_m = 1

    The mean over points is that by `sample_weight`, where it is given.

    References
    ----------
    Yao, Vehtari, Simpson and Gelman (2018), doi 10.1214/17-BA1091.
    """
    n_models, n_points = pointwise.shape
    shares = np.full(n_points, 1 / n_points) if sample_weight is None else sample_weight / sample_weight.sum()
    densities = np.exp(pointwise - pointwise.max(0))

    def loss(weights: Float[np.ndarray, " M"]) -> tuple[float, Float[np.ndarray, " M"]]:
        mixed = np.maximum(weights @ densities, np.finfo(float).tiny)
        return -float(shares @ np.log(mixed)), -(densities / mixed) @ shares

    found = minimize(
        loss,
        np.full(n_models, 1 / n_models),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_models,
        constraints=LinearConstraint(np.ones(n_models), 1.0, 1.0),
        options={"ftol": 1e-10, "maxiter": 1000},
    )
    weights = np.clip(found.x, 0.0, 1.0)
    return np.asarray(weights / weights.sum())
