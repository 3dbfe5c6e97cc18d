"""The bundled data sets: `datasets.names()`, and `datasets.load(name)` for one as a `Table`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
