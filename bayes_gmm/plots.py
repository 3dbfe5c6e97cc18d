"""The door to all figures: each takes what the fits returned, draws on given axes or new ones, and returns them."""

from .canvas import component_color
from .clusters import plot_clusters, plot_ellipses, plot_pair

__all__ = ["component_color", "plot_clusters", "plot_ellipses", "plot_pair"]
