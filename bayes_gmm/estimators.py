"""Estimators with the interface of scikit-learn: `from bayes_gmm.estimators import GaussianMixture`."""

from .em_estimator import GaussianMixture

__all__ = ["GaussianMixture"]
