from . import datasets as datasets, errors as errors, estimators as estimators
from .climb import EMStatus as EMStatus
from .comparison import Comparison as Comparison, compare as compare
from .compile_cache import use_compile_cache as use_compile_cache
from .conjugate import ConjugatePrior as ConjugatePrior
from .em import fit_em as fit_em
from .em_fit import EMFit as EMFit
from .errors import (
    ArgumentError as ArgumentError,
    BayesGMMError as BayesGMMError,
    DataError as DataError,
    FitError as FitError,
    FitWarning as FitWarning,
    OutputError as OutputError,
)
from .gradient import GradientFit as GradientFit, fit_gradient as fit_gradient
from .information_theory import (
    EntropyBounds as EntropyBounds,
    entropy as entropy,
    entropy_bounds as entropy_bounds,
    kl_divergence as kl_divergence,
)
from .laplace_fit import LaplaceFit as LaplaceFit, fit_laplace as fit_laplace
from .likelihood_ratio import (
    LikelihoodRatioTest as LikelihoodRatioTest,
    likelihood_ratio_test as likelihood_ratio_test,
)
from .loading import load as load
from .mixture import Mixture as Mixture
from .model_comparison import ModelComparison as ModelComparison, compare_models as compare_models
from .numpyro_model import model as model
from .plots import (
    plot_clusters as plot_clusters,
    plot_coclustering as plot_coclustering,
    plot_density as plot_density,
    plot_diagnostics as plot_diagnostics,
    plot_ellipses as plot_ellipses,
    plot_forest as plot_forest,
    plot_pair as plot_pair,
    plot_ppc as plot_ppc,
    plot_prior_posterior as plot_prior_posterior,
    plot_relabelling as plot_relabelling,
    plot_selection as plot_selection,
    plot_uncertainty as plot_uncertainty,
)
from .posterior import Posterior as Posterior
from .prior import Prior as Prior
from .prior_check import prior_predictive as prior_predictive
from .profile_likelihood import profile_interval as profile_interval
from .reporting import report as report
from .resampling import Bootstrap as Bootstrap, bootstrap as bootstrap
from .sampling import fit_nuts as fit_nuts
from .selection import Selection as Selection, select_em as select_em
from .stochastic_em import fit_stream as fit_stream
from .stratified import Estimate as Estimate
from .stream_fit import StreamFit as StreamFit, StreamStatus as StreamStatus
from .table import Table as Table, as_table as as_table, read_table as read_table
