"""Figures: each takes what the fits returned, draws on given axes or on new ones, and returns the axes.

Each figure has a file of its own: `plot_forest` is in `forest`. `style` holds the colours, axes, titles and legends of
all figures, `ellipses` also the axes of points and components of `clusters` and `pair`.

May import: the rooms up to `figure_data`, and matplotlib. Names are loaded when they are first used.
Add here: a figure, in a file named after it, listed in `__init__.pyi`; what it computes goes into `figure_data`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
