"""Back from the disk: one function for every result that was saved."""

from pathlib import Path

from .climb import EMStatus
from .conjugate import ConjugatePrior
from .covariance import Structure
from .em_fit import EMFit
from .explanations import Explanation
from .fixed import Fixed
from .laplace import Laplace
from .laplace_fit import LaplaceFit
from .mixture import Mixture
from .modes import Modes
from .posterior import Posterior
from .posterior_problem import PosteriorProblem
from .prior import Prior
from .problem import Problem
from .relabel import Relabelling
from .result_file import read_result
from .table import Table
from .verdict import Verdict, VerdictStatus

_RESULTS = (EMFit, Posterior, LaplaceFit)
_PARTS = (
    *(Problem, PosteriorProblem, Table, Structure, Fixed, ConjugatePrior, Prior, Mixture, EMStatus),
    *(Modes, Laplace, Relabelling, Explanation, Verdict, VerdictStatus),
)
_CLASSES = {found.__name__: found for found in (*_RESULTS, *_PARTS)}


def load(path: str | Path) -> EMFit | Posterior | LaplaceFit:
    """Result that `EMFit.save`, `Posterior.save` or `LaplaceFit.save` wrote, with the data, bit for bit.

    Raises
    ------
    ArgumentError
        When there is no such file, or it is of another kind, not whole, not as it was written, or of a newer version.

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
