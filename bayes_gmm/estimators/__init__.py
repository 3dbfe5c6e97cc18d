"""Estimators with the interface of scikit-learn: `from bayes_gmm.estimators import GaussianMixture`.

Read `base` (what both estimators share), `gaussian_mixture` and `bayesian_gaussian_mixture`; `input_rows` and
`parameters` translate between scikit-learn's conventions and ours, `regularised_em` and `sklearn_seeding` repeat its EM
and its seeding to the last bit, `sklearn_compat` is all that touches scikit-learn, where it is installed.

May import: the rooms up to `assessment`. Names are loaded when they are first used.
Add here: another estimator, a file of its name, listed in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
