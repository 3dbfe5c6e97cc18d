"""Saved results: netCDF files that contain a whole result, and that ArviZ and xarray read without this package.

All results have this one format. netCDF stores every bit of a float64 in eight bytes, where JSON takes up to twenty and
has no infinities, so that long tables and many draws fit into the same file as the rest. A file contains

====================  ==================================================================================================
root attributes       `kind` of the result, `data_sha256` (of the table's values, row by row as little-endian float64),
                      and the versions of the packages that wrote it
posterior, ...        the groups of `Posterior.tree`, in ArviZ's schema
bayes_gmm             all other arrays, named by their place in the result, such as `mle.mixture.means`, and
                      `description`, the rest of the result as JSON (`serialisation`)
the last line         version of the format and checksum of the file (`checksummed_file`)
====================  ==================================================================================================

Reading a file executes nothing from it: there is no pickle, and only known classes and distributions of NumPyro are
created.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayes_gmm.errors import ArgumentError, BayesGMMError, OutputError
from bayes_gmm.io.checksummed_file import read_checksummed, write_checksummed
from bayes_gmm.io.serialisation import Arrays, field_names, from_json_and_arrays, to_json_and_arrays
from bayes_gmm.io.table import Table

_GROUP = "bayes_gmm"
_DESCRIPTION = "description"
_PACKAGES = ("bayes_gmm", "numpyro", "xarray")


def write_result(path: str | Path, result: Any) -> None:
    """Write a result that has a field `problem`; its field `tree`, if it has one, becomes groups of the file.

    Raises
    ------
    ArgumentError
        When the result contains what cannot be written, such as a prior with a distribution that is not NumPyro's.
    OutputError
        When the file cannot be written; an old one is not changed.
    """
    arrays: Arrays = {}
    names = [name for name in field_names(result) if name != "tree"]
    described = {name: to_json_and_arrays(getattr(result, name), name, arrays) for name in names}
    groups = getattr(result, "tree", xr.DataTree()).copy()
    groups[_GROUP] = xr.DataTree(_dataset(arrays).assign({_DESCRIPTION: ((), json.dumps(described))}))
    groups.attrs = {"kind": type(result).__name__, "data_sha256": data_checksum(result.problem.table)}
    groups.attrs |= {f"{package}_version": version(package) for package in _PACKAGES}
    write_checksummed(path, _content(path, groups))


def read_result(path: str | Path, classes: Mapping[str, Any]) -> Any:
    """Read a result that `write_result` wrote; `classes` are those that may be created, by their names.

    Raises
    ------
    ArgumentError
        When there is no such file, or it is of another kind, incomplete, changed, or of a newer version.
    """
    content = read_checksummed(path)
    with _unreadable_content(path):
        about, groups = _groups(content)
        own = groups.pop(_GROUP)
        arrays = {str(name): own[name].values for name in own.data_vars}
        described = json.loads(arrays.pop(_DESCRIPTION).item())
        fields = {name: from_json_and_arrays(part, arrays, classes) for name, part in described.items()}
        _check_data(path, fields["problem"].table, about["data_sha256"])
        kind = classes[about["kind"]]
        if "tree" in kind.__dataclass_fields__:
            fields["tree"] = xr.DataTree.from_dict(groups)
        return kind(**fields)


def data_checksum(table: Table) -> str:
    """SHA-256 of the values of a table, row by row as little-endian float64.

    Examples
    --------
    >>> data_checksum(Table(np.array([[1.0], [2.0]]), ("x",)))[:16]
    'dc91ce9a50ddc828'
    """
    return sha256(np.ascontiguousarray(table.values, dtype="<f8")).hexdigest()


def _dataset(arrays: Arrays) -> xr.Dataset:
    """Dataset of arrays; axes of the same place and length share a dimension, such as "axis0_272"."""
    return xr.Dataset(
        {name: ([f"axis{i}_{n}" for i, n in enumerate(array.shape)], array) for name, array in arrays.items()}
    )


def _content(path: str | Path, groups: xr.DataTree) -> bytes:
    try:
        # A copy, because to_netcdf returns a view of a BytesIO's memory. When writing fails, the traceback keeps the
        # view alive, and CPython crashes when it collects a view in one reference cycle with its owner.
        return bytes(groups.to_netcdf(engine="h5netcdf"))
    except (TypeError, ValueError) as error:  # for example a column name with a character that HDF5 does not allow
        raise OutputError(
            f"{path} cannot be written ({error}).", "names and types that netCDF takes", "Rename the columns."
        ) from error


def _groups(content: bytes) -> tuple[Mapping[Any, Any], dict[str, xr.Dataset]]:
    """Attributes of the root, and the groups by their paths, loaded into memory."""
    with xr.open_datatree(BytesIO(content), engine="h5netcdf") as tree:
        # Each group by itself, because DataTree.load skips a variable that has the name of a group.
        groups = {path: node.to_dataset(inherit=False).load() for path, node in tree.subtree_with_keys if path != "."}
        return tree.attrs, {path: group.drop_encoding() for path, group in groups.items()}


@contextmanager
def _unreadable_content(path: str | Path) -> Iterator[None]:
    """Raise whatever the libraries raise about a content that they cannot read as an `ArgumentError`."""
    try:
        yield
    except BayesGMMError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"{path} is whole, but what is in it cannot be understood ({type(error).__name__}: {error}).",
            "a result as this version of bayes_gmm, or one before, wrote it",
            f"Read it with the versions that wrote it: they are attributes of xarray.open_datatree({str(path)!r}).",
        ) from error


def _check_data(path: str | Path, table: Table, expected: str) -> None:
    found = data_checksum(table)
    if found != expected:
        raise ArgumentError(
            f"The data in {path} have the checksum {found[:16]}.",
            f"{expected[:16]}, that of the data which were fitted",
            "Restore the file from a copy, or fit again.",
        )
