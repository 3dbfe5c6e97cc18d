"""The result of EM: the mixture, how the fit ended, criteria and standard errors."""

import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from bayes_gmm.errors import ArgumentError, FitError, FitWarning
from bayes_gmm.io.number_text import suspected_markers
from bayes_gmm.io.table import Table
from bayes_gmm.likelihood.true_rows import TrueRows, responsibilities_with_errors, true_rows
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.imputation import CompletedRows, completed_rows
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import most_probable, noise_share
from bayes_gmm.mle.degrees_of_freedom import tails_in_words
from bayes_gmm.mle.doubts import (
    flat_in_words,
    outlying_in_words,
    own_parameters,
    thin_components,
    thin_in_words,
    wide_in_words,
)
from bayes_gmm.mle.standard_errors import reported, standard_errors
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.degeneracy import degenerate_components
from bayes_gmm.objective.problem import Problem

_ANOTHER, _CLOSE = 1e-3, 2.0
"""Nats above which two maxima are different, and below which the data hardly choose between them."""

_WIDE = 0.3
"""Standard error relative to its scale above which it is doubted: about that of a scale from six points."""

_FLAT = 0.05
"""Standard deviation of a component, relative to that of the errors in its direction, that is next to none."""

_SLOW = 0.05
"""Nats by which runs may end apart where a covariance is next to zero, which EM approaches slowly."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EMFit:
    """Maximum-likelihood fit of a Gaussian mixture.

    Attributes
    ----------
    mixture
        The best mixture found, components ordered by the mean of the first feature.
    log_likelihood
        Marginal log-likelihood at `mixture`, from the centred form; rows with known labels count with their label.
    status
        How the best run ended.
    n_steps
        EM steps of the best run.
    path
        The objective before each step of the best run and after the last, (n_steps + 1,): the log-likelihood; with
        hard assignment the classification log-likelihood; with a prior plus its log density up to a constant.
    start_log_likelihoods, start_statuses
        Where each start (R,) ended, and how; a start that was left behind, where it was then.
    optima
        Distinct maxima that the starts reached, (M, ...), the best first, at most sixteen; where no start converged,
        the end of the best.
    kernel_error
        Absolute difference between the linear and the centred form of the objective, at `mixture`.
    problem
        The data, the structure, and all else that was asked for.
    """

    mixture: Mixture
    log_likelihood: float
    status: EMStatus
    n_steps: int
    path: Float[np.ndarray, " steps"]
    start_log_likelihoods: Float[np.ndarray, " _"]
    start_statuses: Int[np.ndarray, " _"]
    optima: Mixture = field(repr=False)
    kernel_error: float
    problem: Problem = field(repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixture", self.mixture.with_columns(self.table.columns))

    @property
    def table(self) -> Table:
        """The table that was fitted."""
        return self.problem.table

    @property
    def sample_weight(self) -> np.ndarray:
        """Weight of each row (N,)."""
        return self.problem.sample_weight

    @property
    def structure(self) -> Structure:
        """What the covariances have in common (`covariance_structures`)."""
        return self.problem.structure

    @property
    def n_parameters(self) -> int:
        """Number of free parameters; fixed ones do not count."""
        return self.problem.n_parameters

    @cached_property
    def doubts(self) -> tuple[str, ...]:
        """What makes this maximum suspicious: components with fewer than two points for each of their own parameters.

        Such maxima are often spurious: a few points that lie close together by chance, on which the likelihood is high
        and standard errors mean little (McLachlan and Peel 2000, doi 10.1002/0471721182, section 3.10). The best
        maximum without them is named beside (`fit_em(spurious="skip")`). None under a `ConjugatePrior`, which rules
        them out. And another maximum that is lower by less than two nats, so that the data hardly choose between the
        two. And values that seem to stand for missing ones (`suspected_markers`), and what a failed fit came to
        (`degeneracies`). And components of next to no spread of their own, beside the errors of the rows, and those
        that hold outliers rather than a cluster.
        """
        markers = suspected_markers(self.table.values, self.table.columns)
        outlying = () if self.status.failed else outlying_in_words(self.mixture, self.problem)
        seconds = (*self._flat_components(), *self._close_second())
        return (*markers, *self.degeneracies, *self._thin_components(), *outlying, *seconds)

    @cached_property
    def degeneracies(self) -> tuple[str, ...]:
        """Where a failed fit ended: the columns, values or rows that leave a component without a covariance."""
        return degenerate_components(self.mixture, self.table.values, self.table.columns) if self.status.failed else ()

    @cached_property
    def error_doubts(self) -> tuple[str, ...]:
        """What makes the standard errors suspicious: those of a component's scales above 30 % of them.

        Then half a dozen points decide the scale, and nothing about it is normal. Where simulated components overlap
        and points are few, intervals of 90 % of fits with doubts, these or `doubts`, held the truth in 28 to 55 %,
        those of the others in 72 to 73 % (`tests/calibration`). Empty where there are no standard errors.
        """
        doubted = np.flatnonzero(self.doubted_components)
        return (wide_in_words(doubted, self._widest_errors),) if doubted.size else ()

    @property
    def doubted_components(self) -> Bool[np.ndarray, " K"]:
        """Components whose standard errors are suspicious (`error_doubts`)."""
        return self._widest_errors > _WIDE

    @cached_property
    def _widest_errors(self) -> Float[np.ndarray, " K"]:
        """Largest standard error of a scale of each component, relative to it; 0 where there is none."""
        errors = self._errors_or_nothing()
        return (errors["scales"] / self.mixture.scales).max(1) if errors else np.zeros(self.mixture.n_components)

    def aic(self) -> float:
        """Akaike's criterion, -2 log L + 2 p; lower is better (Akaike 1974, doi 10.1109/TAC.1974.1100705)."""
        return -2 * self.log_likelihood + 2 * self.n_parameters

    def bic(self) -> float:
        """Schwarz's criterion, -2 log L + p log N; lower is better (Schwarz 1978, doi 10.1214/aos/1176344136)."""
        return -2 * self.log_likelihood + self.n_parameters * float(np.log(self.problem.n_informative))

    def icl(self) -> float:
        """BIC minus twice the log probability of the most probable labels, where unknown; lower is better.

        Biernacki, Celeux and Govaert (2000), doi 10.1109/34.865189.
        """
        shares = self.responsibilities()
        largest = np.maximum(shares.max(1), noise_share(shares))
        certainty = np.where(self.problem.labels >= 0, 1.0, largest)
        return self.bic() - 2 * float(self.sample_weight @ np.log(certainty))

    def responsibilities(self) -> np.ndarray:
        """Soft assignments of the fitted points, (N, K), given their errors; known labels are not looked at."""
        values, errors = self.table.observed()
        if errors is None:
            return self.mixture.responsibilities(values)
        return responsibilities_with_errors(self.mixture, values, errors)

    def noise_probability(self) -> Float[np.ndarray, " N"]:
        """Probability of each fitted row to belong to the noise, (N,), zero without noise.

        Examples
        --------
        >>> import numpy as np, bayes_gmm as bg
        >>> x = np.vstack([bg.datasets.load("faithful").values, [[5.0, 45.0], [1.7, 95.0]]])
        >>> bg.fit_em(x, n_components=2, noise=True).noise_probability()[-2:].round(2)
        array([1., 1.])
        """
        return noise_share(self.responsibilities())

    @cached_property
    def standard_errors(self) -> dict[str, np.ndarray]:
        """Standard errors of weights, means, scales, correlations and covariances, and of `noise_weight` with noise.

        They are those of `standard_errors`. Whether they can be believed is in `error_doubts`, of which a `FitWarning`
        is given here.
        """
        errors = self._information_errors
        for doubt in self.error_doubts:
            warnings.warn(doubt, FitWarning, stacklevel=3)
        return errors

    @cached_property
    def _information_errors(self) -> dict[str, np.ndarray]:
        return self.errors()

    def errors(self, kind: str = "information") -> dict[str, np.ndarray]:
        """Standard errors by "information", "sandwich" or "scores" (`standard_errors`); see also `bootstrap`."""
        return standard_errors(self.mixture, self.problem, kind)

    def completed(self) -> CompletedRows:
        """Conditional mean of each cell of the table (N, D) given the seen ones of its row, and its sd.

        The sd is that of the missing cell under this mixture, zero where the cell was seen. That the mixture is an
        estimate is not in it: `Posterior.impute` has both.

        Examples
        --------
        >>> import bayes_gmm as bg
        >>> x = bg.datasets.load("faithful").values.copy()
        >>> x[::5, 1] = float("nan")
        >>> bg.fit_em(x, n_components=2).completed().mean[0].round(1)
        array([ 3.6, 75.2])
        """
        if self.table.has_errors:
            raise ArgumentError(
                "The values have known errors.", "exact values", "denoised() gives the true ones, and missing cells."
            )
        return completed_rows(self.mixture, self.table.values)

    def denoised(self) -> TrueRows:
        """Mean of each true value (N, D) given what was observed of its row and its errors, and its sd.

        They are under this mixture: that it is an estimate is not in them. Cells that were not seen are among them.

        Examples
        --------
        >>> import bayes_gmm as bg
        >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2, errors=[[0.2, 4.0]] * 272)
        >>> mle.table.values[0].round(1), mle.denoised().mean[0].round(1)
        (array([ 3.6, 79. ]), array([ 3.8, 77.5]))
        """
        return true_rows(self.mixture, self.table)

    def record(self) -> dict[str, Any]:
        """Everything but the data as plain lists and numbers, ready for JSON."""
        mixture, table = self.mixture, self.table
        noise = {} if mixture.noise is None else {"noise_probability": self.noise_probability().tolist()}
        return {
            "columns": list(table.columns),
            "structure": self.structure.name,
            "n_points": table.n_points,
            **{name: getattr(mixture, name).tolist() for name in reported(mixture)},
            **noise,
            "standard_errors": {name: values.tolist() for name, values in self._errors_or_nothing().items()},
            "doubts": [*self.doubts, *self.error_doubts],
            "log_likelihood": self.log_likelihood,
            "status": self.status.name,
            "n_steps": self.n_steps,
            "n_parameters": self.n_parameters,
            "aic": self.aic(),
            "bic": self.bic(),
            "icl": self.icl(),
            "start_log_likelihoods": self.start_log_likelihoods.tolist(),
            "start_statuses": [EMStatus(int(status)).name for status in self.start_statuses],
        }

    def save(self, path: str | Path) -> None:
        """Write everything, the data included, to a netCDF file that `load` gives back.

        It takes 8 N (D + 2) bytes for the data, their weights and labels, and some 25 kB beside.

        Raises
        ------
        OutputError
            When the file cannot be written; an old one stays as it was.

        Examples
        --------
        >>> import tempfile, bayes_gmm as bg
        >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mle.save(f"{folder}/mle.nc")
        ...     bg.load(f"{folder}/mle.nc").bic() == mle.bic()
        True
        """
        from bayes_gmm.io.result_file import write_result

        write_result(path, self)

    def _thin_components(self) -> tuple[str, ...]:
        if self.problem.prior is not None:
            return ()
        thin = np.flatnonzero(thin_components(self.mixture, self.problem))
        if not thin.size:
            return ()
        labels, counts = most_probable(self.responsibilities()), self.mixture.weights * self.sample_weight.sum()
        rows = [np.flatnonzero(labels == k) for k in thin]
        return (f"{thin_in_words(thin, counts[thin], rows, own_parameters(self.problem))}{self._clean_rival()}",)

    def _flat_components(self) -> tuple[str, ...]:
        errors = self.table.error_covariances
        if errors is None or not self.problem.is_bounded:
            return ()
        typical = np.average(errors, axis=0, weights=self.sample_weight)
        whitening = np.linalg.inv(np.linalg.cholesky(typical))
        narrowest = np.linalg.svd(whitening @ self.mixture.scale_tril, compute_uv=False)[:, -1]
        flat = np.flatnonzero(narrowest < _FLAT)
        return (flat_in_words(flat, narrowest),) if flat.size else ()

    def _clean_rival(self) -> str:
        """Words on the best of the maxima without such components."""
        clean = np.flatnonzero(~thin_components(self.optima, self.problem).any(-1))
        if not clean.size:
            return ""
        rival = self.problem.log_likelihood(jax.tree.map(lambda leaf: leaf[clean[0]], self.optima))
        return (
            f" The best maximum found without such a component has a log-likelihood of {rival:.2f}, this one "
            f'{self.log_likelihood:.2f}: spurious="skip" gives it.'
        )

    def _close_second(self) -> tuple[str, ...]:
        """The height of another maximum that starts reached."""
        ends = self.start_log_likelihoods[self.start_statuses == EMStatus.CONVERGED]
        below = self.path[-1] - ends
        lower = below[below > (_SLOW if self._flat_components() else _ANOTHER)]
        if not lower.size or lower.min() > _CLOSE:
            return ()
        return (
            f"Another maximum is lower by {lower.min():.2f} nats only (`optima`): the data hardly choose between them. "
            "Look at the posterior.",
        )

    def _errors_or_nothing(self) -> dict[str, np.ndarray]:
        try:
            return self._information_errors
        except FitError:
            return {}

    def _noise(self) -> tuple[str, ...]:
        """A sentence on the weight of the noise, and on how many rows belong to it."""
        if self.mixture.noise is None:
            return ()
        error = self._errors_or_nothing().get("noise_weight", np.float64(np.nan))
        within = "" if np.isnan(error) else f" +- {error:.2g}"
        rows = int((most_probable(self.responsibilities()) < 0).sum())
        return (
            f"Noise has a weight of {self.mixture.noise_weight:.3g}{within}; {rows} rows belong most probably to it.",
        )

    def _tails(self) -> tuple[str, ...]:
        nothing = np.full(self.mixture.n_components, np.nan)
        errors = self._errors_or_nothing() if self.problem.estimates_degrees else {}
        return tails_in_words(self.mixture, self.problem, errors.get("degrees_of_freedom", nothing))

    def check(self) -> "EMFit":
        """Return this fit, or raise `FitError` when it collapsed or is not finite."""
        if self.status.failed:
            raise FitError(
                " ".join(
                    (f"EM ended {self.status.name} from all {len(self.start_statuses)} starts.", *self.degeneracies)
                ),
                "at least one start that reaches a maximum of the likelihood",
                self.status.advice,
            )
        return self

    def __repr__(self) -> str:
        return (
            f"EMFit: {self.mixture.n_components} components, {self.table.n_points} points, "
            f"{self.table.n_features} features\n"
            f"  log-likelihood {self.log_likelihood:.6f}, {self.status.name} after {self.n_steps} steps, "
            f"BIC {self.bic():.2f}\n  {_describe_starts(self)}"
            + "".join(
                f"\n  {sentence}" for sentence in (*self.table.remarks, *self._tails(), *self._noise(), *self.doubts)
            )
        )


def _describe_starts(fit: EMFit) -> str:
    values, total = fit.start_log_likelihoods, len(fit.start_log_likelihoods)
    broken = np.array([EMStatus(int(status)).failed for status in fit.start_statuses])
    at_best = ~broken & (values >= fit.path[-1] - 1e-4)
    behind = int((~at_best & (fit.start_statuses == EMStatus.LEFT_BEHIND)).sum())
    others = {"left behind": behind, "collapsed or failed": int(broken.sum())}
    counted = [f"{int(at_best.sum())} of {total} starts reached it", *(f"{n} {how}" for how, n in others.items() if n)]
    return "; ".join(counted)
