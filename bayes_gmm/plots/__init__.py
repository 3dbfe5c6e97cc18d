"""The door to all figures: each takes what the fits returned, draws on given axes or new ones, and returns them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
