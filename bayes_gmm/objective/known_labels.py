"""Labels of rows whose component is known, as a user gives them."""

from typing import Any

import numpy as np
from jaxtyping import Int

from bayes_gmm.core.validation import any_array
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.table import Table


def known_labels(labels: Any, table: Table, n_components: int) -> Int[np.ndarray, " N"]:
    """Labels (N,) as integers; None, NaN and -1 mean that the component is not known."""
    n_points = table.n_points
    if labels is None:
        return np.full(n_points, -1)
    expected = f"{n_points} integers from 0 to {n_components - 1}, or -1 where the component is not known"
    remedy = "Number the groups from 0; np.unique(names, return_inverse=True)[1] does that."
    given = table.of_kept_rows(any_array("labels", labels, expected, remedy))
    if given.dtype == object:
        given = np.array([-1 if label is None else label for label in given.ravel()]).reshape(given.shape)
    if np.issubdtype(given.dtype, np.floating):
        given = np.where(np.isnan(given), -1, given)
    whole = given.dtype.kind in "iuf" and given.shape == (n_points,) and (given == np.round(given)).all()
    if not (whole and ((given >= -1) & (given < n_components)).all()):
        found = (
            np.unique(given)[:5].tolist()
            if given.dtype.kind in "iuf"
            else f"{given.ravel()[:1].tolist()} of type {given.dtype}"
        )
        raise ArgumentError(f"labels has shape {given.shape} and values {found}.", expected, remedy)
    return given.astype(int)
