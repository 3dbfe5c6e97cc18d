"""Gaussian mixtures: the maximum-likelihood fit, the posterior, and the two side by side.

The public names are listed in `__init__.pyi`; each is imported when it is first used, so that importing the
package is cheap. `README.md` beside this file shows the rooms of the package and what lives in each.
"""

import lazy_loader

from bayes_gmm.core import former_modules

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

former_modules.register()
del former_modules
