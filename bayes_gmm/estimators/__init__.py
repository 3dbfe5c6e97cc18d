"""Estimators with the interface of scikit-learn: `from bayes_gmm.estimators import GaussianMixture`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
