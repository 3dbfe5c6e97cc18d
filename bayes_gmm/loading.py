"""`load`: the function that reads every kind of saved result."""

from pathlib import Path

from bayes_gmm.bayes.laplace_approximation import Laplace
from bayes_gmm.bayes.modes import Modes
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.prior import Prior
from bayes_gmm.io.result_file import read_result
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise
from bayes_gmm.mle.em_result import EMFit
from bayes_gmm.mle.status import EMStatus
from bayes_gmm.objective.conjugate_prior import ConjugatePrior
from bayes_gmm.objective.fixed_parameters import Fixed
from bayes_gmm.objective.problem import Problem
from bayes_gmm.posterior.explanations import Explanation
from bayes_gmm.posterior.fit_laplace import LaplaceFit
from bayes_gmm.posterior.posterior import Posterior
from bayes_gmm.posterior.relabelling import Relabelling
from bayes_gmm.posterior.verdict import Verdict, VerdictStatus

# Saved files name these classes; a class that is renamed can no longer be read from the files before.
_RESULTS = (EMFit, Posterior, LaplaceFit)
_PARTS = (
    *(Problem, PosteriorProblem, Table, Structure, Fixed, ConjugatePrior, Prior, Mixture, Noise, EMStatus),
    *(Modes, Laplace, Relabelling, Explanation, Verdict, VerdictStatus),
)
_CLASSES = {found.__name__: found for found in (*_RESULTS, *_PARTS)}


def load(path: str | Path) -> EMFit | Posterior | LaplaceFit:
    """Result that `EMFit.save`, `Posterior.save` or `LaplaceFit.save` wrote, with its data, equal bit for bit.

    Raises
    ------
    ArgumentError
        When there is no such file, or it is of another kind, incomplete, changed, or of a newer version.

    Examples
    --------
    >>> import tempfile, bayes_gmm as bg
    >>> mle = bg.fit_em(bg.datasets.load("faithful"), n_components=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mle.save(f"{folder}/mle.nc")
    ...     loaded = bg.load(f"{folder}/mle.nc")
    >>> loaded.log_likelihood == mle.log_likelihood
    True
    """
    return read_result(path, _CLASSES)
