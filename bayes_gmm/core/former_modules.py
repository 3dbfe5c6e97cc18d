"""Where the classes have moved that pickles written before the rooms were cut ask for.

A pickle names a class by the module that held it. The aliases make these names importable and load nothing until a
pickle asks for a class; every other name of an alias is refused without an import.
"""

import sys
from importlib import import_module
from types import ModuleType

_MOVED = {
    "climb": {"EMStatus": "mle.status"},
    "comparison": {"Comparison": "assessment.compare"},
    "conjugate": {"ConjugatePrior": "objective.conjugate_prior"},
    "covariance": {"Structure": "mixture.covariance_structures"},
    "em_estimator": {"GaussianMixture": "estimators.gaussian_mixture"},
    "em_fit": {"EMFit": "mle.em_result"},
    "explanations": {"Explanation": "posterior.explanations"},
    "fixed": {"Fixed": "objective.fixed_parameters"},
    "gradient": {"GradientFit": "mle.fit_gradient"},
    "laplace": {"Laplace": "bayes.laplace_approximation"},
    "laplace_fit": {"LaplaceFit": "posterior.fit_laplace"},
    "leave_one_out": {"LeaveOneOut": "assessment.leave_one_out"},
    "likelihood_ratio": {"LikelihoodRatioTest": "assessment.likelihood_ratio_test"},
    "model_comparison": {"Model": "assessment.compare_models", "ModelComparison": "assessment.compare_models"},
    "modes": {"Modes": "bayes.modes"},
    "nuts_estimator": {"BayesianGaussianMixture": "estimators.bayesian_gaussian_mixture"},
    "points": {"Points": "clustering.point_assignments"},
    "posterior_problem": {"PosteriorProblem": "bayes.posterior_problem"},
    "prior": {"Prior": "bayes.prior"},
    "problem": {"Problem": "objective.problem"},
    "relabel": {"Relabelling": "posterior.relabelling"},
    "resampling": {"Bootstrap": "assessment.bootstrap"},
    "rows": {"Row": "assessment.parameter_comparison"},
    "scaling": {"Scaling": "mixture.scaling"},
    "scores": {"Scores": "assessment.predictive_scores", "HeldOut": "assessment.predictive_scores"},
    "selection": {"Selection": "assessment.select_em"},
    "stream_fit": {"StreamFit": "mle.stream_result", "StreamStatus": "mle.status"},
    "table": {"Table": "io.table"},
    "verdict": {"Verdict": "posterior.verdict", "VerdictStatus": "posterior.verdict"},
}


class _FormerModule(ModuleType):
    def __init__(self, name: str, moved: dict[str, str]) -> None:
        super().__init__(name, "A module of the flat layout, for pickles.")
        self._moved = moved

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or name not in self._moved:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"bayes_gmm.{self._moved[name]}"), name)


def register() -> None:
    """Make the former names of modules importable by `pickle`."""
    for name, moved in _MOVED.items():
        full = f"bayes_gmm.{name}"
        sys.modules.setdefault(full, _FormerModule(full, moved))
