"""The bundled data sets: `datasets.names()` lists them, `datasets.load(name)` returns one as a `Table`.

`catalogue` has their columns, units, sources and caveats; the CSV files are in the same folder.

May import: `errors`, `core`, `io`.
Add here: a CSV file of less than a megabyte and its entry in `catalogue`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
