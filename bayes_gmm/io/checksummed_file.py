"""A file whose last line holds the version of the format and the SHA-256 of everything before the checksum.

Every version of the format has this last line:

    bayes_gmm result 1 sha256 9f86d081884c7d65...

Readers of netCDF stop where HDF5 ends, so they read such a file like any other. This package parses nothing before the
checksum has been verified. A file is written beside the old one and then replaces it, so that after a crash one of the
two is there and complete.
"""

import os
import re
from collections.abc import Buffer
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from bayes_gmm.core.export import output_errors
from bayes_gmm.core.validation import file_path
from bayes_gmm.errors import ArgumentError

VERSION = 1
"""Version of the content's format; to be raised when a reader of the previous version could not read it."""

_LAST_LINE = re.compile(rb"\nbayes_gmm result (\d{1,9}) sha256 ([0-9a-f]{64})\n\Z")
_LONGEST_LAST_LINE = 112
"""Bytes from the end of the file that are searched for the last line: more than the longest that the pattern allows."""
_LONGEST_PREFIX = 32
"""Bytes from the start of the file that tell its kind: more than the longest of the known prefixes."""

_OTHER_KINDS = {
    b"bayes_gmm checkpoint": "is a checkpoint of a run that fit_nuts(..., checkpoint=) goes on with",
    b"\x89HDF": "is a netCDF file without a seal: it was cut short, changed by another program, or never saved by save",
    b"": "is no netCDF file",
}
_EXPECTED = "a file as EMFit.save or Posterior.save wrote it"
_REMEDY = "Restore it from a copy, or save the result again; xarray.open_datatree reads any netCDF file."


def write_checksummed(path: str | Path, content: Buffer) -> None:
    """Write the content and its checksum to a new file, which then replaces the old one in one step.

    Raises
    ------
    OutputError
        When the file cannot be written; the old one is not changed.
    """
    path = file_path("path", path)
    with output_errors(f"{path} cannot be written"):
        target = path.resolve()  # the file that a symbolic link points to is replaced, not the link
        # A temporary folder, rather than a temporary file, because the new file then gets the usual permissions.
        with TemporaryDirectory(prefix=".bayes_gmm-", dir=target.parent) as folder:
            new = Path(folder) / "result"
            with open(new, "wb") as file:
                file.write(content)
                file.write(last_line(content))
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, target)
        synchronise_folder(target.parent)


def read_checksummed(path: str | Path) -> bytes:
    """The content that `write_checksummed` was given.

    Raises
    ------
    ArgumentError
        When there is no such file, or it is of another kind, incomplete, changed, or of a newer version.
    """
    path = file_path("path", path)
    try:
        with open(path, "rb") as file:
            start, size = file.read(_LONGEST_PREFIX), file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LONGEST_LAST_LINE))
            found = _LAST_LINE.search(file.read())
            if found is None:
                raise ArgumentError(f"{path} {_describe_other_kind(start)}.", _EXPECTED, _REMEDY)
            file.seek(0)
            content = file.read(size - len(found[0]))
    except OSError as error:
        words = f"{path} cannot be read ({error.strerror or error})."
        raise ArgumentError(words, "the path of a saved result", "Check the path.") from error
    version = int(found[1])
    if last_line(content, version) != found[0]:
        raise ArgumentError(f"{path} is damaged: it is not as it was written.", _EXPECTED, _REMEDY)
    if version > VERSION:
        words = f"{path} was written by a newer bayes_gmm, in version {version} of the format."
        raise ArgumentError(words, f"version {VERSION} or older", "Update bayes_gmm.")
    return content


def last_line(content: Buffer, version: int = VERSION) -> bytes:
    r"""Version and checksum, of the content and of the part of this line that precedes the checksum.

    Examples
    --------
    >>> last_line(b"")[:30]
    b'\nbayes_gmm result 1 sha256 b12'
    """
    start = b"\nbayes_gmm result %d sha256 " % version
    checksum = sha256(content)
    checksum.update(start)
    return start + checksum.hexdigest().encode() + b"\n"


def synchronise_folder(path: Path) -> None:
    """Write a folder's entries to the disk, so that a new file in it is still there after a power failure."""
    if os.name == "posix":
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _describe_other_kind(start: bytes) -> str:
    if not start:
        return "is empty"
    return next(words for prefix, words in _OTHER_KINDS.items() if start.startswith(prefix))
