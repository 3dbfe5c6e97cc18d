"""Writers of results: records (dictionaries of one row each) as CSV, JSON and HTML tables."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bayes_gmm.core.validation import file_path
from bayes_gmm.errors import OutputError

Record = dict[str, Any]
"""One row of a table of results, by the names of its columns: numbers, texts and None."""


def write_csv(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write records of the same keys, numbers with all their digits.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    path = file_path("path", path)
    with output_errors(f"{path} cannot be written"), open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]) if records else [])
        writer.writeheader()
        writer.writerows(records)


def write_json(value: Any, path: str | Path) -> None:
    """Write records, or lists and dictionaries of them, as JSON; NaN and infinities become null.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    path = file_path("path", path)
    with output_errors(f"{path} cannot be written"):
        path.write_text(to_json(value) + "\n", encoding="utf-8")


def to_json(value: Any) -> str:
    """Records, or lists and dictionaries of them, as JSON text; NaN and infinities become null.

    Examples
    --------
    >>> print(to_json({"mean": np.float64(1.5), "sd": np.nan}))
    {
     "mean": 1.5,
     "sd": null
    }
    """
    return json.dumps(_plain(value), indent=1, allow_nan=False)


@contextmanager
def output_errors(
    failure: str, expected: str = "a path in a folder that can be written to", remedy: str = "Choose another path."
) -> Iterator[None]:
    """Raise an `OSError` of the block as an `OutputError`; `failure` says what failed, the `OSError` adds why."""
    try:
        yield
    except OutputError:  # an OSError too, but one that has its words already
        raise
    except OSError as error:
        raise OutputError(f"{failure} ({error.strerror or error}).", expected, remedy) from error


def counted(number: int, what: str) -> str:
    """A number with its noun, such as "1 feature" or "2 features"."""
    return f"{number} {what}{'s' if number != 1 else ''}"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, n_left: int = 1) -> str:
    """HTML table whose first `n_left` columns are aligned left, the others right; optional end tags are omitted."""
    return "".join(
        ["<table>", _html_row(head, "th", n_left), *(_html_row(row, "td", n_left) for row in rows), "</table>"]
    )


def _html_row(cells: Sequence[str], tag: str, n_left: int) -> str:
    left = " style=text-align:left"
    return "<tr>" + "".join(f"<{tag}{left if i < n_left else ''}>{escape(cell)}" for i, cell in enumerate(cells))


def _plain(value: Any) -> Any:
    """A value as JSON has it: arrays and tuples as lists, NumPy scalars as numbers, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
