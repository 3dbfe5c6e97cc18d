from . import datasets as datasets, errors as errors, estimators as estimators
from .assessment.bootstrap import Bootstrap as Bootstrap, bootstrap as bootstrap
from .assessment.compare import Comparison as Comparison, compare as compare
from .assessment.compare_models import ModelComparison as ModelComparison, compare_models as compare_models
from .assessment.fit_em_groups import GroupFits as GroupFits, fit_em_groups as fit_em_groups
from .assessment.likelihood_ratio_test import (
    LikelihoodRatioTest as LikelihoodRatioTest,
    likelihood_ratio_test as likelihood_ratio_test,
)
from .assessment.parameter_shifts import ParameterShifts as ParameterShifts, parameter_shifts as parameter_shifts
from .assessment.profile_interval import profile_interval as profile_interval
from .assessment.select_em import Selection as Selection, select_em as select_em
from .bayes.model import model as model
from .bayes.prior import Prior as Prior
from .core.compile_cache import use_compile_cache as use_compile_cache
from .errors import (
    ArgumentError as ArgumentError,
    BayesGMMError as BayesGMMError,
    DataError as DataError,
    DataWarning as DataWarning,
    FitError as FitError,
    FitWarning as FitWarning,
    OutputError as OutputError,
)
from .io.table import Table as Table, as_table as as_table, read_table as read_table
from .loading import load as load
from .mixture.entropy import (
    EntropyBounds as EntropyBounds,
    entropy as entropy,
    entropy_bounds as entropy_bounds,
    kl_divergence as kl_divergence,
)
from .mixture.mixture import Mixture as Mixture
from .mixture.monte_carlo import Estimate as Estimate
from .mle.em_result import EMFit as EMFit
from .mle.fit_em import fit_em as fit_em
from .mle.fit_gradient import GradientFit as GradientFit, fit_gradient as fit_gradient
from .mle.fit_stream import fit_stream as fit_stream
from .mle.status import EMStatus as EMStatus, StreamStatus as StreamStatus
from .mle.stream_result import StreamFit as StreamFit
from .objective.conjugate_prior import ConjugatePrior as ConjugatePrior
from .plots import (
    plot_clusters as plot_clusters,
    plot_coclustering as plot_coclustering,
    plot_density as plot_density,
    plot_diagnostics as plot_diagnostics,
    plot_ellipses as plot_ellipses,
    plot_forest as plot_forest,
    plot_groups as plot_groups,
    plot_imputed as plot_imputed,
    plot_pair as plot_pair,
    plot_ppc as plot_ppc,
    plot_prior_posterior as plot_prior_posterior,
    plot_relabelling as plot_relabelling,
    plot_selection as plot_selection,
    plot_uncertainty as plot_uncertainty,
)
from .posterior.fit_hmc import fit_hmc as fit_hmc
from .posterior.fit_laplace import LaplaceFit as LaplaceFit, fit_laplace as fit_laplace
from .posterior.fit_nuts import fit_nuts as fit_nuts
from .posterior.posterior import Posterior as Posterior
from .posterior.prior_predictive import prior_predictive as prior_predictive
from .reporting import report as report
