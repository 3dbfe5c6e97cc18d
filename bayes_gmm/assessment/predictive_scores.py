"""How well either answer predicts: the data themselves, each point left out, and points that neither has seen."""

from typing import Any, NamedTuple

import numpy as np

from bayes_gmm.assessment.leave_one_out import LeaveOneOut, leave_one_out
from bayes_gmm.core.export import Record
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.posterior.posterior import Posterior


class HeldOut(NamedTuple):
    """Mean log density of new points (nats a point) by either answer, and the standard error of their difference."""

    n_points: int
    mle: float
    posterior: float
    difference_error: float

    @property
    def difference(self) -> float:
        """Posterior minus maximum likelihood."""
        return self.posterior - self.mle


class Scores(NamedTuple):
    """Predictive quality.

    Attributes
    ----------
    log_likelihood
        Of the data at the estimate, the largest there is.
    mean_log_likelihood
        Of the data, averaged over the posterior.
    loo
        Leave-one-out predictive density of the posterior; None when it could not be computed.
    held_out
        Of points that were given for it.
    """

    log_likelihood: float
    mean_log_likelihood: float
    loo: LeaveOneOut | None
    held_out: HeldOut | None

    def records(self) -> list[Record]:
        """One dictionary for each score: its value by either answer, NaN where there is none."""
        found = [_record("log-likelihood of the data", self.log_likelihood, self.mean_log_likelihood)]
        if self.loo is not None:
            found.append(_record("elpd_loo", np.nan, self.loo.elpd, self.loo.standard_error))
        if self.held_out is not None:
            held = self.held_out
            found.append(_record("held-out log score per point", held.mle, held.posterior, held.difference_error))
        return found


def score(mle: EMFit, posterior: Posterior, x_test: np.ndarray | None) -> tuple[Scores, tuple[str, ...]]:
    """Both answers' scores, and what could not be computed."""
    mean = float(posterior.tree["invariants"]["log_likelihood"].mean())
    loo, notes = leave_one_out_or_reason(posterior)
    held_out = None if x_test is None else _held_out(mle, posterior, x_test)
    return Scores(mle.log_likelihood, mean, loo, held_out), notes


def leave_one_out_or_reason(posterior: Posterior) -> tuple[LeaveOneOut | None, tuple[str, ...]]:
    """Leave-one-out, or why there is none."""
    try:
        return leave_one_out(posterior), ()
    except ValueError as error:  # ArviZ's answer to draws that do not differ
        return None, (f"No elpd_loo: its importance weights cannot be smoothed ({error}). Draw more samples.",)


def _held_out(mle: EMFit, posterior: Posterior, x: np.ndarray) -> HeldOut:
    of_mle, of_posterior = mle.mixture.log_prob(x), posterior.log_prob(x)
    differences = of_posterior - of_mle
    error = float(differences.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else np.nan
    return HeldOut(len(x), float(of_mle.mean()), float(of_posterior.mean()), error)


def _record(score: str, mle: float, posterior: float, error: float = np.nan) -> dict[str, Any]:
    return {"score": score, "maximum_likelihood": mle, "posterior": posterior, "standard_error": error}
