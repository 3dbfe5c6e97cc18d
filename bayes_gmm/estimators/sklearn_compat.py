"""scikit-learn's exceptions and tags, used where it is loaded already; this package does not import it by itself."""

import inspect
import sys
from functools import cache
from typing import Any

from bayes_gmm import errors


def raised(error: errors.BayesGMMError) -> Exception:
    """The error, as an instance of scikit-learn's class of the same name, too, where scikit-learn is loaded."""
    return _joined(type(error))(*error.args)


def warned(category: type[Warning]) -> type[Warning]:
    """The category of a warning, as a subclass of scikit-learn's of the same name, too, where it is loaded."""
    return _joined(category)


def density_estimator_tags() -> Any:
    """Tags of a density estimator; only scikit-learn asks for them, so that it can be imported here."""
    from sklearn.utils import InputTags, Tags, TargetTags

    return Tags(
        estimator_type="density_estimator",
        target_tags=TargetTags(required=False),
        input_tags=InputTags(allow_nan=True),
    )


def fit_request(estimator: Any, sample_weight: bool | str | None) -> Any:
    """Request of metadata by `fit`, of an estimator whose `fit` takes weights; only scikit-learn asks for it."""
    from sklearn.utils.metadata_routing import MetadataRequest

    request = MetadataRequest(owner=type(estimator).__name__)
    if "sample_weight" in inspect.signature(type(estimator).fit).parameters:
        request.fit.add_request(param="sample_weight", alias=sample_weight)
    return request


def _joined(own: Any) -> Any:
    exceptions = sys.modules.get("sklearn.exceptions")
    return own if exceptions is None else _join(own, getattr(exceptions, own.__name__))


@cache
def _join(own: Any, sklearn_class: Any) -> Any:
    # Pickled under the name of our own class, because worker processes return their errors as pickles.
    return type(own.__name__, (own, sklearn_class), {"__module__": own.__module__, "__reduce__": _reduce})


def _reduce(error: Any) -> tuple[Any, ...]:
    own = getattr(errors, type(error).__name__)
    return own, error.args
