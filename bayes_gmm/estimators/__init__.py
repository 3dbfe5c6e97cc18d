"""Estimators with the interface of scikit-learn: `from bayes_gmm.estimators import GaussianMixture`.

Read `base` (the methods of both estimators), `gaussian_mixture` and `bayesian_gaussian_mixture`. `input_rows` reads
tables and `parameters` converts parameters as scikit-learn does, `regularised_em` runs its EM, and `sklearn_seeding`
draws its starts and samples from the same random numbers. `sklearn_compat` alone refers to scikit-learn, which need not
be installed.

May import: the rooms up to `assessment`. Names are loaded when they are first used.
Add here: another estimator, a file of its name, listed in `__init__.pyi`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
