"""Base class of both estimators: the methods that scikit-learn's tools call, without inheriting from scikit-learn."""

from __future__ import annotations

import inspect
from html import escape
from numbers import Real
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.errors import ArgumentError, DataError, NotFittedError
from bayes_gmm.estimators import input_rows, sklearn_compat
from bayes_gmm.estimators.input_rows import Rows
from bayes_gmm.io.rows import row_weights
from bayes_gmm.io.table_checks import check_columns_seen


class Estimator:
    """Estimator whose constructor stores its parameters unchanged; `fit` sets attributes whose names end in "_"."""

    n_features_in_: int
    feature_names_in_: np.ndarray
    means_: Float[np.ndarray, "K D"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the constructor by name; `deep` has no effect, because no parameter is an estimator."""
        return {name: getattr(self, name) for name in _defaults(type(self))}

    def set_params(self, **params: Any) -> Estimator:
        """Change parameters of the constructor.

        Raises
        ------
        ArgumentError
            When the constructor has no parameter with a given name.
        """
        known = _defaults(type(self))
        for name, value in params.items():
            if name not in known:
                raise ArgumentError(
                    f"Invalid parameter {name!r} for estimator {self}.",
                    f"one of {', '.join(known)}",
                    "get_params() lists them with their values.",
                )
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: Any = None) -> Estimator:
        """Learn from rows (N, D); `y` is not used."""
        raise NotImplementedError

    def fit_predict(self, X: Any, y: Any = None, **fit_params: Any) -> Int[np.ndarray, " N"]:
        """Learn from rows (N, D) and return the most probable component of each; `y` is not used."""
        return self.fit(X, y, **fit_params).predict(X)

    def predict(self, X: Any) -> Int[np.ndarray, " N"]:
        """Most probable component of each row."""
        return self._responsibilities(self._fitted_rows(X).values).argmax(1)

    def predict_proba(self, X: Any) -> Float[np.ndarray, "N K"]:
        """Responsibilities: the probability of each component given the row."""
        rows = self._fitted_rows(X)
        return self._in_type_of(rows, self._responsibilities(rows.values))

    def score_samples(self, X: Any) -> Float[np.ndarray, " N"]:
        """Log density of each row."""
        rows = self._fitted_rows(X)
        return self._in_type_of(rows, self._log_density(rows.values))

    def score(self, X: Any, y: Any = None) -> float:
        """Mean log density of the rows; `y` is not used."""
        return float(self.score_samples(X).mean())

    def _responsibilities(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        raise NotImplementedError

    def _log_density(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        raise NotImplementedError

    def _in_type_of(self, rows: Rows, numbers: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Numbers in float32 where the rows and the learned parameters are float32, else in float64."""
        return numbers.astype(np.result_type(rows.dtype, self.means_.dtype), copy=False)

    def __repr__(self) -> str:
        shown = [
            f"{name}={value!r}"
            for name, default in _defaults(type(self)).items()
            if not _same(value := getattr(self, name), default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    def __sklearn_tags__(self) -> Any:
        return sklearn_compat.density_estimator_tags()

    def set_fit_request(self, *, sample_weight: bool | str | None = None) -> Estimator:
        """Whether scikit-learn's metadata routing passes `sample_weight` on to `fit`, or under which name."""
        self._metadata_request = sklearn_compat.fit_request(self, sample_weight)
        return self

    def set_output(self, *, transform: str | None = None) -> Estimator:
        """Refuse to choose the output of `transform`, which a mixture does not have; None changes nothing.

        Raises
        ------
        ArgumentError
            Whenever there is something to choose.
        """
        if transform is not None:
            raise ArgumentError(
                f"set_output is asked for {transform!r}, and {type(self).__name__} has no transform.",
                "None",
                "Predictions are arrays: pandas.DataFrame(mixture.predict_proba(X), index=X.index) makes a frame.",
            )
        return self

    def get_metadata_routing(self) -> Any:
        """Request of metadata, which scikit-learn's tools ask for."""
        return getattr(self, "_metadata_request", None) or sklearn_compat.fit_request(self, None)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "means_")

    def _learn_rows(self, x: Any, n_components: int) -> Rows:
        """Rows to be fitted; sets `n_features_in_` and `feature_names_in_`."""
        rows = input_rows.read(x, type(self).__name__, fewest=2)
        check_columns_seen(rows.values, rows.columns)
        if len(rows.values) < n_components:
            raise DataError(
                "Expected n_samples >= n_components "
                f"but got n_components = {n_components}, n_samples = {len(rows.values)}.",
                "a row for each component",
                "Lower n_components, or give more rows.",
            )
        self.n_features_in_ = rows.values.shape[1]
        vars(self).pop("feature_names_in_", None)
        if rows.names is not None:
            self.feature_names_in_ = rows.names
        return rows

    def _fitted_rows(self, x: Any) -> Rows:
        """Rows to be evaluated, after a check that there is a fit, and that its columns are those of the rows."""
        self._check_fitted()
        rows = input_rows.read(x, type(self).__name__)
        input_rows.check_names(rows, getattr(self, "feature_names_in_", None), type(self).__name__)
        n_features = self.means_.shape[1]
        if rows.values.shape[1] != n_features:
            raise DataError(
                f"X has {rows.values.shape[1]} features, but {type(self).__name__} is expecting "
                f"{n_features} features as input.",
                "the columns of the fit",
                "Select the same columns as for fit.",
            )
        return rows

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            self._raise_not_fitted()

    def _check_sample(self, n_samples: Any) -> None:
        self._check_fitted()
        is_integer = isinstance(n_samples, int | np.integer) and not isinstance(n_samples, bool)
        if not (is_integer and n_samples >= 1):
            raise ArgumentError(
                f"Invalid value for 'n_samples': {n_samples!r}. The sampling requires at least one sample.",
                "an integer of at least 1",
                "Ask for one or more.",
            )

    def _raise_not_fitted(self) -> NoReturn:
        raise sklearn_compat.raised(
            NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments before "
                "using this estimator.",
                "a call of fit before this one",
                "The data go to fit(X).",
            )
        )


def random_generator(random_state: Any) -> np.random.RandomState:
    """Generator for a `random_state`: NumPy's global one for None, a new one for a seed, or the given one.

    Raises
    ------
    ArgumentError
        When `random_state` is not None, a seed from 0 to 2**32 - 1, or a RandomState.
    """
    if random_state is None:
        return np.random.mtrand._rand
    if isinstance(random_state, np.random.RandomState):
        return random_state
    is_integer = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)
    if is_integer and 0 <= random_state < 2**32:
        return np.random.RandomState(random_state)
    raise ArgumentError(
        f"{random_state!r} cannot be used to seed a numpy.random.RandomState instance.",
        "None, an integer from 0 to 2**32 - 1, or a RandomState",
        "The same integer gives the same fit again.",
    )


def weights_of_rows(sample_weight: Any, n_rows: int) -> Float[np.ndarray, " {n_rows}"]:
    """Weight of each row: one by default; a single number is the weight of every row."""
    same = isinstance(sample_weight, Real)
    return row_weights(np.full(n_rows, float(sample_weight)) if same else sample_weight, n_rows)


def _defaults(kind: type) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


def _same(value: Any, default: Any) -> bool:
    try:
        return value is default or bool(value == default)
    except ValueError:  # a comparison of arrays has no truth value
        return False
