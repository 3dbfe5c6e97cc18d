"""`BayesianGaussianMixture` with the interface of scikit-learn's; its fit samples the posterior with NUTS."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.bayes.prior import Prior
from bayes_gmm.core.validation import instance_of, positive_integer
from bayes_gmm.errors import ConvergenceWarning, NotFittedError
from bayes_gmm.estimators import sklearn_compat
from bayes_gmm.estimators.base import Estimator, random_generator, weights_of_rows
from bayes_gmm.estimators.parameters import check_replaced, precisions, to_sklearn
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.fit_em import fit_em
from bayes_gmm.posterior.fit_nuts import fit_nuts
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.verdict import Verdict, VerdictStatus


class BayesianGaussianMixture(Estimator):
    r"""Posterior of a mixture of Gaussians, in place of `sklearn.mixture.BayesianGaussianMixture`.

    scikit-learn fits a factorised approximation of the posterior; here NUTS draws from the posterior itself
    (`fit_nuts`). Methods and attributes with the same name have the same meaning. All parameters there are taken:
    those of variational inference have no effect, which `fit` says where they are not at their default, and `fit`
    refuses a Dirichlet process and the Normal-Wishart prior with what takes their place.

    Parameters
    ----------
    n_components
        Number of Gaussians K.
    covariance_type
        "full", "tied", "diag", "spherical", "EEI" (diagonal, tied) or "EII" (spherical, tied).
    weight_concentration_prior
        Concentration of the Dirichlet prior of the weights: a number, or (K,). It replaces the one in `prior`.
    prior
        A `Prior` in data units; the scale of the default is computed from the data.
    num_warmup, num_samples, num_chains
        Transitions of each chain that tune the step size, transitions that are kept (by default as many as are needed,
        see `fit_nuts`), and number of chains.
    target_accept_prob
        Mean acceptance probability for which the step size is tuned; closer to one where draws diverge.
    n_init
        Number of starts of the EM fit where the chains begin; the default is that of `fit_em`.
    weight_concentration_prior_type
        "dirichlet_distribution"; a process is refused.
    mean_prior, mean_precision_prior, degrees_of_freedom_prior, covariance_prior
        None: a `prior` takes their place.
    tol, reg_covar, max_iter, init_params, warm_start, verbose_interval
        Without effect.
    random_state
        None, an integer, or a `numpy.random.RandomState`.
    verbose
        Whether to show a progress bar.

    Attributes
    ----------
    posterior_
        The whole `Posterior`: draws, diagnostics, predictive checks.
    verdict_
        Whether the draws can be trusted, with the reasons if not.
    weights_, means_, covariances_
        Posterior means, in the shapes of `GaussianMixture`.
    precisions_, precisions_cholesky_
        Inverses of `covariances_`, and their upper triangular roots.
    converged_, n_iter_
        Whether the verdict is not BAD, and the number of transitions of a chain.
    n_features_in_, feature_names_in_
        Number of columns, and their names where all are strings.

    Examples
    --------
    >>> import bayes_gmm as bg
    >>> from bayes_gmm.estimators import BayesianGaussianMixture
    >>> X = bg.datasets.load("faithful").values
    >>> mixture = BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.verdict_.status.name
    'GOOD'
    >>> mixture.predict([[1.8, 54], [4.5, 80]])
    array([0, 1])
    """

    __module__ = "bayes_gmm.estimators"  # the name that pickles keep

    posterior_: Posterior
    weights_: Float[np.ndarray, " K"]
    covariances_: Float[np.ndarray, "*shape"]
    precisions_: Float[np.ndarray, "*shape"]
    precisions_cholesky_: Float[np.ndarray, "*shape"]

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        weight_concentration_prior: Any = None,
        prior: Prior | None = None,
        num_warmup: int = 200,
        num_samples: int | None = None,
        num_chains: int = 4,
        target_accept_prob: float = 0.8,
        n_init: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        weight_concentration_prior_type: str = "dirichlet_distribution",
        mean_precision_prior: Any = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: Any = None,
        covariance_prior: Any = None,
        tol: float | int = 1e-3,
        reg_covar: float | int = 1e-6,
        max_iter: int = 100,
        init_params: str = "kmeans",
        warm_start: bool = False,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.weight_concentration_prior = weight_concentration_prior
        self.prior = prior
        self.num_warmup = num_warmup
        self.num_samples = num_samples
        self.num_chains = num_chains
        self.target_accept_prob = target_accept_prob
        self.n_init = n_init
        self.random_state = random_state
        self.verbose = verbose
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.init_params = init_params
        self.warm_start = warm_start
        self.verbose_interval = verbose_interval

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> BayesianGaussianMixture:
        """Sample the posterior.

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
        BayesianGaussianMixture
            The estimator itself. A `ConvergenceWarning` is given when the verdict is BAD.

        Raises
        ------
        DataError, ArgumentError
            When the rows or a parameter cannot be used.
        """
        for name in ("n_components", *["n_init"] * (self.n_init is not None)):
            positive_integer(name, getattr(self, name))
        check_replaced(self.get_params(), type(self)().get_params())
        rows = self._learn_rows(X, self.n_components)
        seed = int(random_generator(self.random_state).randint(2**31))
        table, kind = Table(rows.values, rows.columns), self.covariance_type
        weights = None if sample_weight is None else weights_of_rows(sample_weight, len(rows.values))
        start = fit_em(
            table,
            self.n_components,
            covariance_type=kind,
            sample_weight=weights,
            n_starts=self.n_init,
            seed=seed,
        )
        self.posterior_ = fit_nuts(
            table,
            self.n_components,
            covariance_type=kind,
            prior=self._prior(),
            sample_weight=weights,
            num_warmup=self.num_warmup,
            num_samples=self.num_samples,
            num_chains=self.num_chains,
            target_accept_prob=self.target_accept_prob,
            seed=seed,
            start=start,
            progress=bool(self.verbose),
        )
        self._summarise(rows.dtype)
        if not self.converged_:
            text = f"The draws are not to be trusted. {' '.join(self.verdict_.sentences)}"
            warnings.warn(text, sklearn_compat.warned(ConvergenceWarning), stacklevel=2)
        return self

    def sample(self, n_samples: int = 1) -> tuple[Float[np.ndarray, "N D"], Int[np.ndarray, " N"]]:
        """Draw `n_samples` rows from the posterior predictive distribution, and their components."""
        self._check_sample(n_samples)
        rng, draws = random_generator(self.random_state), self.posterior_.draws
        n_chains, n_draws = draws.log_weights.shape[:2]
        taken = rng.randint(n_chains, size=n_samples), rng.randint(n_draws, size=n_samples)
        weights = np.exp(draws.log_weights[taken])
        uniform = rng.uniform(size=(n_samples, 1)) * weights.sum(1, keepdims=True)
        labels = (uniform > np.cumsum(weights, 1)).sum(1)
        factors, noise = draws.scale_tril[(*taken, labels)], rng.standard_normal((n_samples, self.n_features_in_, 1))
        return draws.means[(*taken, labels)] + (factors @ noise)[..., 0], labels

    @property
    def verdict_(self) -> Verdict:
        """Whether the draws can be trusted, with the reasons if not."""
        self._check_fitted()
        return self.posterior_.verdict

    @property
    def converged_(self) -> bool:
        """Whether the verdict is not BAD."""
        return self.verdict_.sampling is not VerdictStatus.BAD

    @property
    def n_iter_(self) -> int:
        """Number of transitions of a chain, those that tune it included."""
        self._check_fitted()
        return int(self.posterior_.tree["posterior"].attrs["num_warmup"]) + self.posterior_.draws.log_weights.shape[1]

    def _check_fitted(self) -> None:
        super()._check_fitted()
        if not hasattr(self, "posterior_"):
            found = f"This {type(self).__name__} has means_, but no posterior_."
            remedy = "Call fit. Of parameters set by hand predicts a GaussianMixture."
            raise sklearn_compat.raised(NotFittedError(found, "draws from the posterior", remedy))

    def _responsibilities(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        return self.posterior_.responsibilities(x)

    def _log_density(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        return self.posterior_.log_prob(x)

    def _prior(self) -> Prior | None:
        if self.weight_concentration_prior is None:
            return self.prior
        own = Prior() if self.prior is None else self.prior
        instance_of("prior", own, Prior, "Put NumPyro distributions into Prior(weights=, means=, scales=).")
        return own.with_concentration(self.weight_concentration_prior, self.n_components)

    def _summarise(self, dtype: Any) -> None:
        """Set the attributes to posterior means, in the shapes of scikit-learn's attributes."""
        draws = self.posterior_.draws
        moments = draws.weights, draws.means, draws.covariances
        center = Mixture.from_moments(*(moment.mean((0, 1)) for moment in moments))
        learnt = [np.asarray(array, dtype) for array in to_sklearn(center, self.covariance_type)]
        self.weights_, self.means_, self.covariances_, self.precisions_cholesky_ = learnt
        self.precisions_ = precisions(self.precisions_cholesky_, self.covariance_type)
