"""A file that ends with a seal: the version of its format and the SHA-256 of all that comes before.

The seal is the last line, as every version of the format has it:

    bayes_gmm result 1 sha256 9f86d081884c7d65...

Readers of netCDF look no further than where HDF5 ends, so that they read a sealed file as any other. Nothing is parsed
before the seal was found right. A file is written beside the old one and then takes its place, so that a crash leaves
one of the two, whole.
"""

import os
import re
from collections.abc import Buffer
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from bayes_gmm.core.export import unwritable
from bayes_gmm.core.validation import file_path
from bayes_gmm.errors import ArgumentError

VERSION = 1
"""Version of what is sealed; to be raised when a reader of the last version could not read it."""

_SEAL = re.compile(rb"\nbayes_gmm result (\d{1,9}) sha256 ([0-9a-f]{64})\n\Z")
_LONGEST_SEAL = 112

_STRANGERS = {
    b"bayes_gmm checkpoint": "is a checkpoint of a run that fit_nuts(..., checkpoint=) goes on with",
    b"\x89HDF": "is a netCDF file without a seal: it was cut short, changed by another program, or never saved by save",
    b"": "is no netCDF file",
}
_EXPECTED = "a file as EMFit.save or Posterior.save wrote it"
_REMEDY = "Restore it from a copy, or save the result again; xarray.open_datatree reads any netCDF file."


def write_sealed(path: str | Path, content: Buffer) -> None:
    """Write content and seal to a new file, which replaces the old one at once.

    Raises
    ------
    OutputError
        When the file cannot be written; the old one stays as it was.
    """
    path = file_path("path", path)
    try:
        target = path.resolve()  # what a link points to is written, not the link
        # A folder of its own, rather than a temporary file, lets the new file have the usual permissions.
        with TemporaryDirectory(prefix=".bayes_gmm-", dir=target.parent) as folder:
            new = Path(folder) / "result"
            with open(new, "wb") as file:
                file.write(content)
                file.write(seal(content))
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, target)
        synchronise_folder(target.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def read_sealed(path: str | Path) -> bytes:
    """The content of a sealed file, exactly as it was written.

    Raises
    ------
    ArgumentError
        When there is no such file, or it is of another kind, not whole, not as it was written, or of a newer version.
    """
    path = file_path("path", path)
    try:
        with open(path, "rb") as file:
            start, size = file.read(32), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LONGEST_SEAL))
            found = _SEAL.search(file.read())
            if found is None:
                raise ArgumentError(f"{path} {_stranger(start)}.", _EXPECTED, _REMEDY)
            file.seek(0)
            content = file.read(size - len(found[0]))
    except OSError as error:
        words = f"{path} cannot be read ({error.strerror or error})."
        raise ArgumentError(words, "the path of a saved result", "Check the path.") from error
    version = int(found[1])
    if seal(content, version) != found[0]:
        raise ArgumentError(f"{path} is damaged: it is not as it was written.", _EXPECTED, _REMEDY)
    if version > VERSION:
        words = f"{path} was written by a newer bayes_gmm, in version {version} of the format."
        raise ArgumentError(words, f"version {VERSION} or older", "Update bayes_gmm.")
    return content


def seal(content: Buffer, version: int = VERSION) -> bytes:
    r"""The last line of a sealed file; its checksum is of the content and of what the line says before.

    Examples
    --------
    >>> seal(b"")[:30]
    b'\nbayes_gmm result 1 sha256 b12'
    """
    start = b"\nbayes_gmm result %d sha256 " % version
    checksum = sha256(content)
    checksum.update(start)
    return start + checksum.hexdigest().encode() + b"\n"


def synchronise_folder(path: Path) -> None:
    """Have the entry of a new file in its folder last as well as the file."""
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _stranger(start: bytes) -> str:
    if not start:
        return "is empty"
    return next(words for prefix, words in _STRANGERS.items() if start.startswith(prefix))
