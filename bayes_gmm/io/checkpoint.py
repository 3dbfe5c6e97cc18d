"""Checkpoint of a long run: a file to which records are appended, and which keeps them when the process is killed.

The first line names the format and its version. Frames follow (`checkpoint_format`), the first with the identity of the
run and then one for each record. A frame is written and synchronised to the disk before the run continues: a process
that is killed leaves complete frames, and at most the beginning of one more.
"""

import json
import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bayes_gmm.core.export import output_errors
from bayes_gmm.core.validation import file_path
from bayes_gmm.errors import ArgumentError, OutputError
from bayes_gmm.io.checkpoint_format import damaged, pack, to_frame, unpack, whole_frames
from bayes_gmm.io.checksummed_file import synchronise_folder

try:
    import fcntl
except ImportError:  # on Windows, where it is not detected that two runs use one file
    fcntl = None  # type: ignore[assignment]

type NamedArrays = dict[str, np.ndarray]
"""One record of a checkpoint."""
type Identity = Mapping[str, str | int | float]
"""Settings by which a run is recognised: names and values that are equal when the run is resumed."""

_VERSION = 1
_FIRST_LINE = b"bayes_gmm checkpoint %d\n" % _VERSION
_LONGEST_FIRST_LINE = len(_FIRST_LINE) + 20
"""Bytes to read of a first line: enough for later versions, and few of a file of another kind without lines."""
_REMEDY = "Choose another path, or delete the file to start anew."


class Checkpoint:
    """File of a run's records, which can only be appended to, and which can be read after the run ends at any moment.

    Attributes
    ----------
    records
        The records that the file contained when it was opened, in order.
    note
        Sentence about an incomplete record at the end of the file, which is dropped; None where there is none.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.checkpoint"
    >>> with Checkpoint.open(path, {"seed": 0}) as checkpoint:
    ...     checkpoint.append({"draws": np.zeros(3)})
    >>> with Checkpoint.open(path, {"seed": 0}) as checkpoint:
    ...     checkpoint.records
    [{'draws': array([0., 0., 0.])}]
    """

    def __init__(self, path: Path, file: BinaryIO, found: "_Contents") -> None:
        """Not for use; `open` reads the file and then calls this."""
        self._path, self._file, self._end, self._checksum = path, file, found.end, found.checksum
        self.records, self.note = found.records, found.note

    @classmethod
    def open(cls, path: str | Path, identity: Identity) -> "Checkpoint":
        """Open a checkpoint to resume its run, or create the file.

        Parameters
        ----------
        path
            The file.
        identity
            Settings of the run: names and values that must be equal when the run is resumed.

        Raises
        ------
        ArgumentError
            When the file has another format, another version or another identity, or is damaged.
        OutputError
            When the file cannot be read and written, or another process has opened it.
        """
        path = file_path("checkpoint", path)
        identifier = json.dumps(dict(identity), sort_keys=True, default=lambda value: value.item()).encode()
        with _write_errors(path):
            file = open(path, "a+b", buffering=0)
            try:
                _lock(file, path)
                found = _begin(file, path, identifier) if _is_new(path, identifier) else _read(path, identifier)
            except BaseException:
                file.close()
                raise
        return cls(path, file, found)

    def append(self, record: Mapping[str, Any]) -> None:
        """Append a record of named arrays; it is on the disk when this returns.

        Raises
        ------
        ArgumentError
            When a value is not an array of numbers, truth values or strings of fixed length.
        OutputError
            When the file cannot be written; the records before are kept.
        """
        frame, checksum = to_frame(pack(record), self._checksum)
        with _write_errors(self._path):
            try:
                self._file.truncate(self._end)  # removes the incomplete frame of a killed run or a failed append
                _write(self._file, frame)
            except BaseException:
                with suppress(OSError):
                    self._file.truncate(self._end)
                raise
        self._end, self._checksum = self._end + len(frame), checksum

    def close(self) -> None:
        """Close the file, so that another run can open it."""
        self._file.close()

    def __enter__(self) -> "Checkpoint":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Contents(NamedTuple):
    """Records of a file, with the position and the checksum of the end of its last complete frame."""

    records: list[NamedArrays]
    end: int
    checksum: int
    note: str | None = None


# Writing


def _write_errors(path: Path) -> AbstractContextManager[None]:
    return output_errors(
        f"The checkpoint {path} cannot be written",
        "a file that can be read and written, on a disk with room",
        "Make room or choose another path; the records so far are kept.",
    )


def _write(file: BinaryIO, content: bytes) -> None:
    """Write all of the content, and wait until it is on the disk."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _lock(file: BinaryIO, path: Path) -> None:
    """Lock the file against other runs; the lock ends when the file is closed or the process ends in any way."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        found = f"The checkpoint {path} is open in another run."
        raise OutputError(found, "one run at a time", "Wait for it to end, or choose another path.") from None
    except OSError:  # a file system without locks
        return


def _begin(file: BinaryIO, path: Path, identifier: bytes) -> _Contents:
    header, checksum = _header(identifier)
    file.truncate(0)
    _write(file, header)
    synchronise_folder(path.parent)
    return _Contents([], len(header), checksum)


def _header(identifier: bytes) -> tuple[bytes, int]:
    frame, checksum = to_frame(identifier, 0)
    return _FIRST_LINE + frame, checksum


# Reading


def _is_new(path: Path, identifier: bytes) -> bool:
    """Whether the file is empty, or contains only the beginning of the header of this run."""
    header, _ = _header(identifier)
    with open(path, "rb") as file:
        start = file.read(len(header))
    return len(start) < len(header) and header.startswith(start)


def _read(path: Path, identifier: bytes) -> _Contents:
    size = path.stat().st_size
    with open(path, "rb") as file:
        _check_first_line(path, file.readline(_LONGEST_FIRST_LINE))
        frames = whole_frames(file, size)
        last = next(frames, None)
        if last is None:
            raise damaged(file, len(_FIRST_LINE))
        _check_identity(path, json.loads(last.payload), json.loads(identifier))
        records = []
        for last in frames:
            records.append(unpack(last.payload))
    dropped = size - last.end
    note = f"The last {dropped} bytes of {path} were no whole record and are dropped; {len(records)} records are kept."
    return _Contents(records, last.end, last.checksum, note if dropped else None)


def _check_first_line(path: Path, line: bytes) -> None:
    match = re.fullmatch(rb"bayes_gmm checkpoint (\d+)\n", line)
    if match is None:
        raise ArgumentError(f"The file {path} is no checkpoint.", "a checkpoint of bayes_gmm, or no file", _REMEDY)
    if int(match[1]) != _VERSION:
        found = f"The checkpoint {path} has version {int(match[1])} of the format."
        remedy = "Go on with the bayes_gmm that wrote it, or choose another path."
        raise ArgumentError(found, f"version {_VERSION}", remedy)


def _check_identity(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    differing = [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]
    if differing:
        name = differing[0]
        more = f" (and {len(differing) - 1} more differ)" if differing[1:] else ""
        what = f"The checkpoint {path} is of another run: its {name} is {found.get(name, 'missing')!r}{more}."
        raise ArgumentError(what, f"{name} {expected.get(name, 'missing')!r}", _REMEDY)
