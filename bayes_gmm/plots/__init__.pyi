from .density import plot_density as plot_density, plot_ppc as plot_ppc
from .diagnostics import plot_diagnostics as plot_diagnostics, plot_relabelling as plot_relabelling
from .ellipses import plot_clusters as plot_clusters, plot_ellipses as plot_ellipses, plot_pair as plot_pair
from .forest import plot_forest as plot_forest
from .prior_posterior import plot_prior_posterior as plot_prior_posterior
from .selection import plot_selection as plot_selection
from .style import component_color as component_color
from .uncertainty import plot_coclustering as plot_coclustering, plot_uncertainty as plot_uncertainty
