"""Estimators with the interface of scikit-learn: `from bayes_gmm.estimators import GaussianMixture`."""

from .em_estimator import GaussianMixture
from .nuts_estimator import BayesianGaussianMixture

__all__ = ["BayesianGaussianMixture", "GaussianMixture"]
