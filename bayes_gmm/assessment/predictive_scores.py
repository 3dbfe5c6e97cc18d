"""Predictive scores of both fits: of the data, of points left out in turn, and of points that neither fit has seen."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from bayes_gmm.assessment.leave_one_out import LeaveOneOut, leave_one_out
from bayes_gmm.core.export import Record
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior


class HeldOut(NamedTuple):
    """Mean log density of new points by both fits, in nats a point, and the standard error of the difference."""

    n_points: int
    mle: float
    posterior: float
    difference_error: float

    @property
    def difference(self) -> float:
        """Posterior minus maximum likelihood."""
        return self.posterior - self.mle


class Scores(NamedTuple):
    """Predictive quality of both fits.

    Attributes
    ----------
    log_likelihood
        Log-likelihood of the data at the maximum-likelihood estimate.
    mean_log_likelihood
        Log-likelihood of the data, averaged over the posterior.
    loo
        Leave-one-out predictive density of the posterior; None when it could not be computed.
    held_out
        Scores of points that neither fit has seen; None when no such points were given.
    notes
        Which scores could not be computed, and why.
    """

    log_likelihood: float
    mean_log_likelihood: float
    loo: LeaveOneOut | None
    held_out: HeldOut | None
    notes: tuple[str, ...] = ()

    def records(self) -> list[Record]:
        """One dictionary for each score: its values by both fits, NaN where there is none."""
        found = [_record("log-likelihood of the data", self.log_likelihood, self.mean_log_likelihood)]
        if self.loo is not None:
            found.append(_record("elpd_loo", np.nan, self.loo.elpd, self.loo.standard_error))
        if self.held_out is not None:
            held = self.held_out
            found.append(_record("held-out log score per point", held.mle, held.posterior, held.difference_error))
        return found


def score(mle: EMFit, posterior: Posterior, x_test: Float[np.ndarray, "M D"] | None) -> Scores:
    """Score both fits, on points `x_test` too where these are given."""
    attempt = attempt_leave_one_out(posterior)
    return Scores(
        log_likelihood=mle.log_likelihood,
        mean_log_likelihood=float(posterior.tree["invariants"]["log_likelihood"].mean()),
        loo=attempt.loo,
        held_out=None if x_test is None else _held_out(mle, posterior, x_test),
        notes=attempt.notes,
    )


class LeaveOneOutAttempt(NamedTuple):
    """Leave-one-out, or None and a note that says why."""

    loo: LeaveOneOut | None
    notes: tuple[str, ...] = ()


def attempt_leave_one_out(posterior: Posterior) -> LeaveOneOutAttempt:
    """Leave-one-out where it can be computed, which takes draws that differ."""
    try:
        return LeaveOneOutAttempt(leave_one_out(posterior))
    except ValueError as error:
        note = f"No elpd_loo: its importance weights cannot be smoothed, {error}. Draw more samples."
        return LeaveOneOutAttempt(None, (note,))


def _held_out(mle: EMFit, posterior: Posterior, x: Float[np.ndarray, "M D"]) -> HeldOut:
    by_mle, by_posterior = mle.mixture.log_prob(x), posterior.log_prob(x)
    differences = by_posterior - by_mle
    error = float(differences.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else np.nan
    return HeldOut(len(x), float(by_mle.mean()), float(by_posterior.mean()), error)


def _record(score: str, mle: float, posterior: float, error: float = np.nan) -> dict[str, Any]:
    return {"score": score, "maximum_likelihood": mle, "posterior": posterior, "standard_error": error}
