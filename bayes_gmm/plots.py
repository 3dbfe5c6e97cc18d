"""The door to all figures: each takes what the fits returned, draws on given axes or new ones, and returns them."""

from .beliefs import plot_prior_posterior
from .canvas import component_color
from .certainty import plot_coclustering, plot_uncertainty
from .chains import plot_diagnostics, plot_relabelling
from .clusters import plot_clusters, plot_ellipses, plot_pair
from .criteria import plot_selection
from .densities import plot_density, plot_ppc
from .estimates import plot_forest

__all__ = [
    "component_color",
    "plot_clusters",
    "plot_coclustering",
    "plot_density",
    "plot_diagnostics",
    "plot_ellipses",
    "plot_forest",
    "plot_pair",
    "plot_ppc",
    "plot_prior_posterior",
    "plot_relabelling",
    "plot_selection",
    "plot_uncertainty",
]
