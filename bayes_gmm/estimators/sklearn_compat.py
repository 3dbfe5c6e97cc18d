"""What scikit-learn expects to see: its own exceptions and tags, where it is loaded. We never load it."""

import sys
from functools import cache
from typing import Any

from bayes_gmm import errors


def raised(error: errors.BayesGMMError) -> Exception:
    """The error; where scikit-learn is loaded, one that is also scikit-learn's of the same name."""
    return _joined(type(error))(*error.args)


def warned(category: type[Warning]) -> type[Warning]:
    """The category of a warning; where scikit-learn is loaded, one that is also scikit-learn's of the same name."""
    return _joined(category)


def density_estimator_tags() -> Any:
    """What scikit-learn asks an estimator for; it alone calls this, so it is there."""
    from sklearn.utils import Tags, TargetTags

    return Tags(estimator_type="density_estimator", target_tags=TargetTags(required=False))


def _joined(own: Any) -> Any:
    exceptions = sys.modules.get("sklearn.exceptions")
    return own if exceptions is None else _join(own, getattr(exceptions, own.__name__))


@cache
def _join(own: Any, peers: Any) -> Any:
    # Found again by pickle under the name of our own class: a worker process hands its errors back that way.
    return type(own.__name__, (own, peers), {"__module__": own.__module__, "__reduce__": _reduce})


def _reduce(error: Any) -> tuple[Any, ...]:
    own = getattr(errors, type(error).__name__)
    return own, error.args
