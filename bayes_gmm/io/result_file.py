"""Results on disk: netCDF files that give the whole result back, and that ArviZ and xarray read without this package.

One format serves all. netCDF keeps every bit of a float64 in eight bytes, where JSON takes up to twenty and has no
infinities, so that neither a long table nor many draws ask for another file. In it are

====================  ==================================================================================================
root attributes       `kind` of the result, `data_sha256` (of the table's values, row by row as little-endian float64),
                      and the versions of the packages that wrote it
posterior, ...        the groups of `Posterior.tree`, in ArviZ's schema
bayes_gmm             all other arrays, named by where they belong, such as `mle.mixture.means`; `description` says in
                      JSON how they go together (`parts`)
the last line         version of the format and checksum of the file (`sealed_file`)
====================  ==================================================================================================

Nothing in a file is run: there is no pickle, and only known classes and NumPyro's distributions are made.
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
from bayes_gmm.io.checksummed_file import read_sealed, write_sealed
from bayes_gmm.io.serialisation import Arrays, field_names, put_together, take_apart
from bayes_gmm.io.table import Table

_GROUP = "bayes_gmm"
_DESCRIPTION = "description"
_PACKAGES = ("bayes_gmm", "numpyro", "xarray")


def write_result(path: str | Path, result: Any) -> None:
    """Write a fit with a `problem`; a field `tree` is written as groups of their own.

    Raises
    ------
    ArgumentError
        When it holds what cannot be written, such as a prior with a distribution that is not NumPyro's.
    OutputError
        When the file cannot be written; an old one stays as it was.
    """
    arrays: Arrays = {}
    names = [name for name in field_names(result) if name != "tree"]
    described = {name: take_apart(getattr(result, name), name, arrays) for name in names}
    groups = getattr(result, "tree", xr.DataTree()).copy()
    groups[_GROUP] = xr.DataTree(_dataset(arrays).assign({_DESCRIPTION: ((), json.dumps(described))}))
    groups.attrs = {"kind": type(result).__name__, "data_sha256": data_checksum(result.problem.table)}
    groups.attrs |= {f"{package}_version": version(package) for package in _PACKAGES}
    write_sealed(path, _content(path, groups))


def read_result(path: str | Path, classes: Mapping[str, Any]) -> Any:
    """Read what `write_result` wrote, given the classes that may occur by their names.

    Raises
    ------
    ArgumentError
        When there is no such file, or it is of another kind, not whole, not as it was written, or of a newer version.
    """
    content = read_sealed(path)
    with _understanding(path):
        about, groups = _groups(content)
        own = groups.pop(_GROUP)
        arrays = {str(name): own[name].values for name in own.data_vars}
        described = json.loads(arrays.pop(_DESCRIPTION).item())
        fields = {name: put_together(part, arrays, classes) for name, part in described.items()}
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
    """Arrays whose axes have no names of their own."""
    return xr.Dataset(
        {name: ([f"axis{i}_{n}" for i, n in enumerate(array.shape)], array) for name, array in arrays.items()}
    )


def _content(path: str | Path, groups: xr.DataTree) -> bytes:
    try:
        # A copy: when the writing fails, the traceback keeps this alive, and CPython ends the process when a view of
        # BytesIO's memory is collected in one cycle with its owner.
        return bytes(groups.to_netcdf(engine="h5netcdf"))
    except (TypeError, ValueError) as error:  # a name with a character that HDF5 does not take
        raise OutputError(
            f"{path} cannot be written ({error}).", "names and types that netCDF takes", "Rename the columns."
        ) from error


def _groups(content: bytes) -> tuple[Mapping[Any, Any], dict[str, xr.Dataset]]:
    """Attributes of the root, and the groups, in memory."""
    with xr.open_datatree(BytesIO(content), engine="h5netcdf") as tree:
        # Group by group: DataTree.load passes over a variable that has the name of a group.
        groups = {path: node.to_dataset(inherit=False).load() for path, node in tree.subtree_with_keys if path != "."}
        return tree.attrs, {path: group.drop_encoding() for path, group in groups.items()}


@contextmanager
def _understanding(path: str | Path) -> Iterator[None]:
    """Whatever the libraries say of a content that they cannot read, said in words."""
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
