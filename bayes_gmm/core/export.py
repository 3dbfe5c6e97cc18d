"""Tables as records: dictionaries that pandas, CSV and JSON take as they are."""

import csv
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bayes_gmm.core.validation import file_path
from bayes_gmm.errors import OutputError

Record = dict[str, Any]


def write_csv(records: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Write records of the same keys, numbers with all their digits.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    path = file_path("path", path)
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]) if records else [])
            writer.writeheader()
            writer.writerows(records)
    except OSError as error:
        raise unwritable(path, error) from error


def write_json(value: Any, path: str | Path) -> None:
    """Write records, or anything made of them; what is not a number becomes null.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    path = file_path("path", path)
    try:
        path.write_text(to_json(value) + "\n", encoding="utf-8")
    except OSError as error:
        raise unwritable(path, error) from error


def to_json(value: Any) -> str:
    """The same as text."""
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def unwritable(path: str | Path, error: OSError) -> OutputError:
    """What is said when a file cannot be written."""
    return OutputError(
        f"{path} cannot be written ({error.strerror or error}).",
        "a path in a folder that can be written to",
        "Choose another path.",
    )


def counted(number: int, what: str) -> str:
    """A number of things, such as "1 feature" or "2 features"."""
    return f"{number} {what}{'s' if number != 1 else ''}"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], n_left: int = 1) -> str:
    """A small table: the first `n_left` columns to the left, numbers to the right; closing tags are left out."""
    return "".join(
        ["<table>", _html_row(head, "th", n_left), *(_html_row(row, "td", n_left) for row in rows), "</table>"]
    )


def _html_row(cells: Sequence[str], tag: str, n_left: int) -> str:
    left = " style=text-align:left"
    return "<tr>" + "".join(f"<{tag}{left if i < n_left else ''}>{escape(cell)}" for i, cell in enumerate(cells))


def _plain(value: Any) -> Any:
    """Lists, dictionaries, texts and finite numbers, or null."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
