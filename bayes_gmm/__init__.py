"""Gaussian mixtures: the maximum-likelihood fit, the posterior, and the two side by side.

The public names are listed in `__init__.pyi`; each is imported when it is first used, so that importing the
package is cheap.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
