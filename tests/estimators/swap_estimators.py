"""Plugin for pytest: scikit-learn's own tests of its mixtures, with our classes in their place.

In this folder: `pytest -p swap_estimators -c /dev/null --pyargs sklearn.mixture.tests.test_gaussian_mixture`.
"""

import pytest
import sklearn.mixture

from bayes_gmm.estimators import BayesianGaussianMixture, GaussianMixture

sklearn.mixture.GaussianMixture = GaussianMixture
sklearn.mixture.BayesianGaussianMixture = BayesianGaussianMixture

VARIATIONAL = "sets parameters, or reads attributes, of variational inference"
LEFT_OUT = {
    "test_gaussian_mixture_all_init_does_not_estimate_gaussian_parameters": "counts calls of a private function",
    "test_gaussian_mixture_n_iter[estimator1]": VARIATIONAL,  # max_iter
    "test_log_dirichlet_norm": "tests a private function",
    "test_log_wishart_norm": "tests a private function",
    "test_bayesian_mixture_weights_prior_initialisation": VARIATIONAL,
    "test_bayesian_mixture_mean_prior_initialisation": VARIATIONAL,
    "test_bayesian_mixture_precisions_prior_initialisation": VARIATIONAL,
    "test_bayesian_mixture_weights": VARIATIONAL,
    "test_monotonic_likelihood": VARIATIONAL,  # of BayesianGaussianMixture alone, see below
    "test_compare_covar_type": VARIATIONAL,
    "test_check_covariance_precision": VARIATIONAL,  # max_iter, reg_covar
    "test_invariant_translation": VARIATIONAL,  # the type of the concentration's prior
    "test_bayesian_mixture_fit_predict": VARIATIONAL,  # max_iter, tol
    "test_bayesian_mixture_predict_predict_proba": VARIATIONAL,  # the type of the concentration's prior
}
"""Names of tests that are not run, and the reason; our own tests cover the same behaviour where our classes have it."""


def pytest_report_header() -> str:
    """Line of pytest's header that says that this package is tested."""
    return "bayes_gmm.estimators used in place of scikit-learn's"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of scikit-learn's private functions, and of variational inference."""
    for item in items:
        own_module = item.module.__name__.rpartition(".")[2]
        reason = LEFT_OUT.get(item.name) or LEFT_OUT.get(getattr(item, "originalname", ""))
        if reason and not (reason == VARIATIONAL and own_module == "test_gaussian_mixture"):
            item.add_marker(pytest.mark.skip(reason=reason))
