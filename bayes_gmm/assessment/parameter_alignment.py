"""Both answers to every parameter, under one labelling, as the rows of a comparison."""

from collections.abc import Iterator

import numpy as np

from bayes_gmm.assessment.bootstrap import Bootstrap
from bayes_gmm.assessment.normal_approximation import flags, gaussian_at_mode
from bayes_gmm.assessment.parameter_comparison import PROBABILITY, Row
from bayes_gmm.errors import FitError
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.standard_errors import REPORTED
from bayes_gmm.posterior.arviz_tree import lower_pairs, pair_names, parameters
from bayes_gmm.posterior.diagnostics import summary
from bayes_gmm.posterior.posterior import Posterior

_NAMES = {"weights": "weight", "means": "mean", "scales": "sd", "correlations": "correlation"}

Errors = dict[str, np.ndarray]


def aligned_rows(
    mle: EMFit, posterior: Posterior, bootstrap: Bootstrap | None, order: np.ndarray
) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    """Rows, the fit's components in that order (K,); and what is to be said of the errors."""
    errors, notes = _standard_errors(mle, order)
    resampled = _bootstrap_errors(mle, bootstrap, order)
    estimates = parameters(mle.mixture.permute(order), posterior.table.columns)
    return tuple(_rows(estimates, errors, resampled, posterior)), notes


def _standard_errors(mle: EMFit, order: np.ndarray) -> tuple[Errors, tuple[str, ...]]:
    try:
        return _ordered(mle.standard_errors, order), mle.error_doubts
    except FitError as error:
        return _nothing(mle), (f"No standard errors. {error}",)


def _bootstrap_errors(mle: EMFit, bootstrap: Bootstrap | None, order: np.ndarray) -> Errors:
    return _nothing(mle) if bootstrap is None else _ordered(bootstrap.standard_errors, order)


def _ordered(errors: Errors, order: np.ndarray) -> Errors:
    ordered = {name: values[order] for name, values in errors.items()}
    return ordered | {"correlations": lower_pairs(ordered["correlations"])}


def _nothing(mle: EMFit) -> Errors:
    shapes = {name: np.shape(getattr(mle.mixture, name)) for name in REPORTED}
    errors = {name: np.full(shape, np.nan) for name, shape in shapes.items()}
    return errors | {"correlations": lower_pairs(errors["correlations"])}


def _rows(estimates: Errors, errors: Errors, resampled: Errors, posterior: Posterior) -> Iterator[Row]:
    """Component by component: weight, means, sds, correlations."""
    columns = posterior.table.columns
    labels = {"weights": [""], "means": columns, "scales": columns, "correlations": pair_names(columns)}
    found = summary(posterior.tree["posterior"].to_dataset(), probability=PROBABILITY)
    gaussian = gaussian_at_mode(posterior)
    reasons = flags(posterior, gaussian, PROBABILITY)
    for component in range(posterior.draws.n_components):
        for name in estimates:
            columns_of = {
                "estimate": estimates[name],
                "standard_error": errors[name],
                "bootstrap_error": resampled[name],
                **{statistic: values[name].values for statistic, values in found.items()},
            }
            if gaussian is not None:
                columns_of |= {"mode": gaussian.mode[name], "laplace_sd": gaussian.sd[name]}
            parts = {column: np.atleast_1d(values[component]) for column, values in columns_of.items()}
            why = np.atleast_1d(reasons[name][component])
            for i, label in enumerate(labels[name]):
                numbers = {column: float(values[i]) for column, values in parts.items()}
                yield Row(component=component, parameter=_NAMES[name], feature=label, flag=str(why[i]), **numbers)
