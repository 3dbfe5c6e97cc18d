"""`GaussianMixture` with the parameters, defaults and attributes of scikit-learn's, and EM compiled by JAX."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.errors import CollapseError, ConvergenceWarning, NotFittedError
from bayes_gmm.estimators import sklearn_compat
from bayes_gmm.estimators.base import Estimator, random_generator, weights_of_rows
from bayes_gmm.estimators.input_rows import Rows
from bayes_gmm.estimators.parameters import (
    CovarianceFactors,
    check_given,
    check_parameters,
    from_sklearn,
    precisions,
    precisions_cholesky_of,
    roots_of_covariances,
    to_sklearn,
)
from bayes_gmm.estimators.regularised_em import EMData, EMRun, progress_lines, run_em, start_from_responsibilities
from bayes_gmm.estimators.sklearn_seeding import SEEDINGS, sample_by_component
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.covariance_structures import find_structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.fit_stream import Stream
from bayes_gmm.mle.standard_errors import standard_errors
from bayes_gmm.objective.degeneracy import degenerate_components, degenerate_groups
from bayes_gmm.objective.problem import Problem
from bayes_gmm.search.nearest_donors import rows_without_gaps


class GaussianMixture(Estimator):
    r"""Mixture of Gaussians by EM, in place of `sklearn.mixture.GaussianMixture`.

    Parameters, defaults, attributes and random starts are scikit-learn's, and the fits agree up to rounding: a
    `random_state` gives the same start. The steps are compiled by JAX. Not in scikit-learn are `sample_weight`, all
    fourteen covariance structures, `standard_errors_`, and `mixture_`, which the other functions of this package take.
    `fit_em` has better defaults: many starts, and a stopping rule that estimates how much there is still to gain.

    Parameters
    ----------
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", or one of mclust's codes (`fit_em`).
    tol
        A run stops when the mean log-likelihood changes by less than this in one step.
    reg_covar
        Constant that is added to the variances after each step, in squared units of the data.
    max_iter
        Largest number of steps of each run; with 0 the result is the start.
    n_init
        Number of runs, of which the best is kept.
    init_params
        "kmeans", "k-means++", "random" or "random_from_data": how a run begins.
    weights_init, means_init, precisions_init
        Start of each run in place of `init_params`: (K,), (K, D), and inverse covariances in the shape of
        `covariances_`.
    random_state
        None, an integer, or a `numpy.random.RandomState`, whose state advances from fit to fit.
    warm_start
        Whether a fit starts from the result of the previous fit.
    verbose, verbose_interval
        With 1 a line is printed for each run and for every `verbose_interval` steps, with 2 also the changes.

    Attributes
    ----------
    weights_, means_
        (K,) and (K, D), in the order of the start, not sorted.
    covariances_, precisions_, precisions_cholesky_
        (K, D, D); tied (D, D); diag (K, D); spherical (K,). `precisions_cholesky_` is upper triangular P, with P P' the
        precision, or the square roots of the precisions.
    converged_, n_iter_
        Whether the best run converged, and its number of steps.
    lower_bound_, lower_bounds_
        Mean log-likelihood before the last M-step of the best run, and before each of its M-steps.
    n_features_in_, feature_names_in_
        Number of columns, and their names where all are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from bayes_gmm.estimators import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.means_.round(3)
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> mixture.predict([[0, 0], [12, 3]])
    array([1, 0])
    """

    __module__ = "bayes_gmm.estimators"  # the name that pickles keep

    weights_: Float[np.ndarray, " K"]
    covariances_: Float[np.ndarray, "*shape"]
    precisions_: Float[np.ndarray, "*shape"]
    precisions_cholesky_: Float[np.ndarray, "*shape"]
    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float | int = 1e-3,
        reg_covar: float | int = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> GaussianMixture:
        """Learn the mixture.

        Parameters
        ----------
        X : (N, D)
            Array, list of rows, or frame (pandas, polars, pyarrow).
        y
            Not used.
        sample_weight : (N,)
            A row of weight w counts as w equal rows.

        Returns
        -------
        GaussianMixture
            The estimator itself. A `ConvergenceWarning` is given when the best run did not converge.

        Raises
        ------
        DataError, ArgumentError
            When the rows or a parameter cannot be used.
        CollapseError
            When every start has a singular covariance.
        """
        check_parameters(self.get_params())
        self._stream = None
        rows = self._learn_rows(X, self.n_components)
        structure = find_structure(self.covariance_type, self.n_features_in_)
        check_given(self.get_params(), self.n_features_in_)
        weights = weights_of_rows(sample_weight, len(rows.values))
        data = EMData.of(rows.values, weights, structure, float(self.reg_covar))
        best = self._best_run(rows, data)
        learnt = to_sklearn(best.mixture, self.covariance_type)
        self._set_parameters([np.asarray(array, rows.dtype) for array in learnt])
        self.converged_ = best.converged
        self.n_iter_ = len(best.lower_bounds)
        self.lower_bounds_ = best.lower_bounds.tolist()
        self.lower_bound_ = self.lower_bounds_[-1] if self.lower_bounds_ else -np.inf
        self._data = (rows.values, weights)
        if not self.converged_ and self.max_iter > 0:
            warnings.warn(_why_not(best, rows), sklearn_compat.warned(ConvergenceWarning), stacklevel=2)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> GaussianMixture:
        """Learn from one more batch of rows, by EM on a stream (`fit_stream`); `fit` begins anew.

        The first batch is fitted by EM, and should hold all components; later ones move the parameters by ever smaller
        steps. Components are sorted by the mean of the first column. `reg_covar`, `tol` and `max_iter` have no effect.

        Parameters
        ----------
        X : (N, D)
            Array, list of rows, or frame, with the columns of the first batch.
        y
            Not used.

        Raises
        ------
        DataError, ArgumentError
            When the rows or a parameter cannot be used.
        CollapseError
            When a component lost its points or its covariance became singular.
        """
        check_parameters(self.get_params())
        if self._stream is None:
            rows = self._learn_rows(X, self.n_components)
            batch: Any = Table(rows.values, rows.columns)
            seed = int(random_generator(self.random_state).randint(2**31))
            self._stream = Stream(self.n_components, covariance_type=self.covariance_type, seed=seed)
        else:
            rows = self._fitted_rows(X)
            batch = rows.values
        fit = self._stream.learn(batch)
        if fit.status.failed:
            raise CollapseError(fit.ending, "batches of all components", fit.status.advice)
        learnt = to_sklearn(fit.mixture, self.covariance_type)
        self._set_parameters([np.asarray(array, rows.dtype) for array in learnt])
        self.converged_, self.n_iter_ = False, fit.n_batches
        self.lower_bounds_, self.lower_bound_ = fit.path.tolist(), float(fit.path[-1])
        self._data = None
        return self

    def sample(self, n_samples: int = 1) -> tuple[Float[np.ndarray, "N D"], Int[np.ndarray, " N"]]:
        """Draw `n_samples` rows and their components, in the order of the components."""
        self._check_sample(n_samples)
        separately = self.covariance_type in ("diag", "spherical")
        rng = random_generator(self.random_state)
        return sample_by_component(self.mixture_, n_samples, rng, separately=separately)

    def aic(self, X: Any) -> float:
        """Akaike's information criterion on the rows; lower is better."""
        return -2 * float(self.score_samples(X).sum(dtype=np.float64)) + 2 * self._n_parameters()

    def bic(self, X: Any) -> float:
        """Bayesian information criterion (Schwarz) on the rows; lower is better."""
        log_density = self.score_samples(X)
        return -2 * float(log_density.sum(dtype=np.float64)) + self._n_parameters() * float(np.log(len(log_density)))

    def _responsibilities(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        return self.mixture_.responsibilities(x)

    def _log_density(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        return self.mixture_.log_prob(x)

    @property
    def mixture_(self) -> Mixture:
        """`Mixture` with the parameters of the attributes, for plots, comparisons and as `start` of `fit_em`."""
        self._check_fitted()
        attributes = (self._roots_of_precisions(), self.covariance_type, np.shape(self.means_))
        kept = self._factors
        found = kept if kept is not None and kept.belong_to(*attributes) else CovarianceFactors.of(*attributes)
        mixture = from_sklearn(self.weights_, self.means_, found.factors.copy())
        return mixture.with_columns(getattr(self, "feature_names_in_", None))

    @property
    def standard_errors_(self) -> dict[str, np.ndarray]:
        """Standard errors of weights, means, scales, correlations and covariances, from the observed information.

        They are valid at a maximum of the likelihood, which a fit with a small `tol` and `reg_covar=0` reaches. The
        estimator keeps the data of the last fit for them; a pickle of it does not contain the data.

        Raises
        ------
        NotFittedError
            When there is no fit, or the estimator was read from a pickle.
        FitError
            When the information is not positive definite.
        """
        self._check_fitted()
        if self._data is None:
            self._raise_not_fitted()
        x, weights = self._data
        problem = Problem.of(x, len(self.weights_), covariance_type=self.covariance_type, sample_weight=weights)
        return standard_errors(self.mixture_, problem)

    _data: tuple[Float[np.ndarray, "N D"], Float[np.ndarray, " N"]] | None = None
    _factors: CovarianceFactors | None = None
    _stream: Stream | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_data", "_factors", "_stream")}

    def _roots_of_precisions(self) -> np.ndarray:
        """Roots of the precisions, or where a user set other attributes by hand, what these say.

        Raises
        ------
        NotFittedError
            When weights, or all of covariances, precisions and their roots are missing: the message names them.
        """
        if hasattr(self, "weights_"):
            if hasattr(self, "precisions_cholesky_"):
                return self.precisions_cholesky_
            if hasattr(self, "precisions_"):
                return precisions_cholesky_of(np.asarray(self.precisions_, float), self.covariance_type)
            if hasattr(self, "covariances_"):
                return roots_of_covariances(np.asarray(self.covariances_, float), self.covariance_type)
        missing = "weights_" if not hasattr(self, "weights_") else "covariances_"
        found = f"This {type(self).__name__} has means_, but no {missing}."
        expected = "weights_, means_, and one of covariances_, precisions_ and precisions_cholesky_"
        raise sklearn_compat.raised(NotFittedError(found, expected, f"Set {missing}, or call fit."))

    # The steps of a fit

    def _best_run(self, rows: Rows, data: EMData) -> EMRun:
        """Run with the highest lower bound among those that did not collapse, or among all where every run did."""
        rng, runs = random_generator(self.random_state), []
        undefined: tuple[str, ...] = ()
        if self.warm_start and hasattr(self, "converged_"):
            runs.append(self._run(0, self.mixture_, data, self.lower_bound_))
        for number in range(0 if runs else self.n_init):
            start, shares = self._start(rows_without_gaps(rows.values, data.scaling), data, rng)
            if shares is None:
                runs.append(self._run(number, start, data, -np.inf))
            else:
                undefined = degenerate_groups(shares, rows.values, rows.columns)
        if not runs:
            found = " ".join((_COLLAPSED, *undefined))
            raise CollapseError(found, "covariances that are positive definite", _NO_COLLAPSE)
        return max(runs, key=lambda run: (not run.collapsed, *run.lower_bounds[-1:]))

    def _run(self, number: int, start: Mixture, data: EMData, lower_bound: float) -> EMRun:
        tol, max_iter = float(self.tol), int(self.max_iter)
        run = run_em(start, data, tol=tol, max_iter=max_iter, lower_bound=float(lower_bound))
        if self.verbose:
            print("\n".join(progress_lines(run, number, details=self.verbose > 1, interval=self.verbose_interval)))
        return run

    def _start(
        self, x: Float[np.ndarray, "N D"], data: EMData, rng: np.random.RandomState
    ) -> tuple[Mixture, np.ndarray | None]:
        """Start of a run, in data units, and shares (N, K) of the rows where its covariances are singular by these."""
        undefined = None
        if self.weights_init is None or self.means_init is None or self.precisions_init is None:
            shares = SEEDINGS[self.init_params](x, self.n_components, data.sample_weight, rng)
            start, is_defined = start_from_responsibilities(x, shares, data)
            undefined = None if is_defined or self.precisions_init is not None else shares
        else:
            start = Mixture(log_weights=None, means=None, scale_tril=None)
        return self._with_given_parameters(start), undefined

    def _with_given_parameters(self, start: Mixture) -> Mixture:
        """The start, with `weights_init`, `means_init` and `precisions_init` in place of its own where given."""
        given = {}
        if self.weights_init is not None:
            with np.errstate(divide="ignore"):
                given["log_weights"] = np.log(np.asarray(self.weights_init, float))
        if self.means_init is not None:
            given["means"] = np.asarray(self.means_init, float)
        if self.precisions_init is not None:
            means = given.get("means", start.means)
            root = precisions_cholesky_of(np.asarray(self.precisions_init, float), self.covariance_type)
            given["scale_tril"] = CovarianceFactors.of(root, self.covariance_type, means.shape).factors
        return replace(start, **given)

    def _initialize(self, X: Any, resp: Any) -> None:
        """Set the attributes to the start of a run from responsibilities (N, K); scikit-learn's tests call this."""
        x = np.asarray(X, float)
        structure = find_structure(self.covariance_type, x.shape[1])
        data = EMData.of(x, np.ones(len(x)), structure, float(self.reg_covar))
        start, _ = start_from_responsibilities(x, np.asarray(resp, float), data)
        learnt = to_sklearn(self._with_given_parameters(start), self.covariance_type)
        self._set_parameters([array.astype(np.asarray(X).dtype) for array in learnt])

    def _set_parameters(self, params: Sequence[np.ndarray]) -> None:
        """Set the attributes to weights, means, covariances and roots of precisions; scikit-learn's tests call this."""
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_ = params
        self.precisions_ = precisions(self.precisions_cholesky_, self.covariance_type)
        self._factors = CovarianceFactors.of(self.precisions_cholesky_, self.covariance_type, self.means_.shape)

    def _n_parameters(self) -> int:
        n_components, n_features = self.means_.shape
        structure = find_structure(self.covariance_type, n_features)
        return n_components - 1 + n_components * n_features + structure.n_parameters(n_components, n_features)


def _why_not(run: EMRun, rows: Rows) -> str:
    """Words on a run that did not converge."""
    if not run.collapsed:
        return _NOT_CONVERGED
    return " ".join((_NOT_CONVERGED, _COLLAPSED_LATER, *degenerate_components(run.mixture, rows.values, rows.columns)))


_NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)
_COLLAPSED_LATER = "A component collapsed in the last step, and the parameters are those before it."
_COLLAPSED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale "
    "the input data."
)
_NO_COLLAPSE = "fit_em with a ConjugatePrior, or fit_nuts, cannot collapse."
