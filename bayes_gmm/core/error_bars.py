"""Known errors of numbers in rows: what a user gives, checked, and the covariances that it means."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayes_gmm.core.validation import real_numbers
from bayes_gmm.errors import ArgumentError

_REMEDY = "Give standard deviations in the units of the columns, 0 where a number is exact, or covariances."

_ROUNDING = 1e-10
"""Share of a covariance by which rounding may make it asymmetric, or its smallest eigenvalue negative."""

_LARGEST = 1e75
"""Size from which on products of errors leave float64."""


def checked_errors(errors: Any, values: NDArray[np.float64], columns: Sequence[str]) -> NDArray[np.float64]:
    """Standard deviations (N, D) or covariances (N, D, D) of the errors of `values` (N, D), read-only.

    Those of a missing cell (NaN) are not looked at and become zero. Of one column they may be given as (N,).

    Raises
    ------
    ArgumentError
        They have another shape, hold NaN, infinity or negative numbers, or a covariance is none.

    Examples
    --------
    >>> checked_errors([[0.1, np.nan]], np.array([[2.0, np.nan]]), ("a", "b"))
    array([[0.1, 0. ]])
    """
    given = real_numbers("errors", errors, _REMEDY)
    N, D = values.shape
    if given.shape == (N,) and D == 1:
        given = given[:, None]
    if given.shape not in ((N, D), (N, D, D)):
        found = f"errors has shape {given.shape}."
        raise ArgumentError(found, f"({N}, {D}) standard deviations or ({N}, {D}, {D}) covariances", _REMEDY)
    missing = np.isnan(values)
    if given.ndim == 2:
        found_errors = np.where(missing, 0.0, given)
        _refuse(~(np.isfinite(found_errors) & (found_errors >= 0)), found_errors, columns)
    else:
        found_errors = np.where(missing[:, :, None] | missing[:, None], 0.0, given)
        _check_covariances(found_errors, columns)
    if np.abs(found_errors).max(initial=0.0) > _LARGEST:
        raise ArgumentError("errors has numbers above 1e75.", "errors of a smaller size", "Make such a cell NaN.")
    found_errors.setflags(write=False)
    return found_errors


def error_covariances(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariances (N, D, D) of the errors that standard deviations (N, D) mean, or themselves."""
    return errors if errors.ndim == 3 else errors[:, :, None] ** 2 * np.eye(errors.shape[1])


def error_sds(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations (N, D) of the errors that covariances (N, D, D) mean, or themselves."""
    return errors if errors.ndim == 2 else np.sqrt(np.diagonal(errors, axis1=1, axis2=2))


def drawn_errors(errors: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """One draw (N, D) of the errors that have these standard deviations (N, D) or covariances (N, D, D)."""
    normal = rng.normal(size=errors.shape[:2])
    if errors.ndim == 2:
        return normal * errors
    sizes, directions = np.linalg.eigh(errors)
    return (directions @ (np.sqrt(np.maximum(sizes, 0.0)) * normal)[..., None])[..., 0]


def errors_in_words(errors: NDArray[np.float64] | None, values: NDArray[np.float64], columns: Sequence[str]) -> str:
    """A sentence on the typical error of each column, or an empty text where there are none.

    Examples
    --------
    >>> errors_in_words(np.array([[0.1], [0.3]]), np.array([[1.0], [2.0]]), ("width",))
    'known errors, of median sd 0.2 (width), are part of the likelihood'
    """
    if errors is None or not errors.any():
        return ""
    medians = np.nanmedian(np.where(np.isnan(values), np.nan, error_sds(errors)), axis=0)
    listed = ", ".join(f"{median:.3g} ({name})" for name, median in zip(columns[:6], medians, strict=False))
    return f"known errors, of median sd {listed}{', ...' * (len(columns) > 6)}, are part of the likelihood"


def _refuse(bad: NDArray[np.bool_], errors: NDArray[np.float64], columns: Sequence[str]) -> None:
    if bad.any():
        row, column = map(int, np.argwhere(bad)[0])
        found = f"errors is {errors[row, column]:g} in row {row} of column {columns[column]!r}."
        raise ArgumentError(
            found,
            "finite standard deviations of at least 0",
            "A number of unknown error is a missing cell: make it NaN.",
        )


def _check_covariances(covariances: NDArray[np.float64], columns: Sequence[str]) -> None:
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    _refuse(~(np.isfinite(covariances).all(2) & (variances >= 0)), variances, columns)
    size = variances.max(1, initial=0.0)
    asymmetric = np.abs(covariances - covariances.mT).max((1, 2), initial=0.0) > _ROUNDING * size
    indefinite = np.linalg.eigvalsh(covariances)[:, 0] < -_ROUNDING * size
    for what, rows in (("symmetric", asymmetric), ("positive semidefinite", indefinite)):
        if rows.any():
            row = int(rows.argmax())
            raise ArgumentError(f"The covariance in errors of row {row} is not {what}.", "covariances", _REMEDY)
