"""Frames of a checkpoint: each stores a payload with its length and a checksum, so that an incomplete one is detected.

=======  ======================================================================
bytes    content of a frame
=======  ======================================================================
8        length of the payload, little-endian
4        CRC-32 of the payload, continued from the checksum of the frame before
4        CRC-32 of the twelve bytes above, which detects a damaged length
length   payload
=======  ======================================================================

Because each checksum continues the one before, frames that were lost, repeated or exchanged are detected, too.
"""

import io
import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bayes_gmm.errors import ArgumentError

_LENGTH_AND_CHECKSUM = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_HEAD = _LENGTH_AND_CHECKSUM.size + _CHECKSUM.size


class Frame(NamedTuple):
    """Payload of a complete frame, position of the frame's end in the file, and checksum for the next frame."""

    payload: bytes
    end: int
    checksum: int


def to_frame(payload: bytes, checksum: int) -> tuple[bytes, int]:
    """Bytes of a frame that continues a checksum, and the checksum for the next frame.

    Examples
    --------
    >>> content, checksum = to_frame(b"abc", 0)
    >>> len(content), hex(checksum)
    (19, '0x352441c2')
    """
    checksum = zlib.crc32(payload, checksum)
    head = _LENGTH_AND_CHECKSUM.pack(len(payload), checksum)
    return head + _CHECKSUM.pack(zlib.crc32(head)) + payload, checksum


def whole_frames(file: BinaryIO, size: int) -> Iterator[Frame]:
    """Complete frames of a file of `size` bytes, from its current position on; an incomplete last one is left out.

    Raises
    ------
    ArgumentError
        When a frame before the last is damaged.
    """
    checksum, start = 0, file.tell()
    while len(head := file.read(_HEAD)) == _HEAD:
        length, expected = _LENGTH_AND_CHECKSUM.unpack(head[: -_CHECKSUM.size])
        if _CHECKSUM.pack(zlib.crc32(head[: -_CHECKSUM.size])) != head[-_CHECKSUM.size :]:
            if (head + file.read()).strip(b"\0"):
                raise damaged(file, start)
            return  # only zeros: after a power failure the file may have grown without its new content
        payload = file.read(min(length, size - file.tell()))
        checksum = zlib.crc32(payload, checksum)
        if checksum != expected or len(payload) < length:
            if file.tell() < size:
                raise damaged(file, start)
            return
        start = file.tell()
        yield Frame(payload, start, checksum)


def damaged(file: BinaryIO, position: int) -> ArgumentError:
    """Error for a file that was changed since it was written."""
    found = f"The checkpoint {file.name} is damaged near byte {position}."
    return ArgumentError(found, "a file as a run of bayes_gmm left it", "Restore it from a copy, or delete it.")


def pack(record: Mapping[str, Any]) -> bytes:
    """Payload of named arrays: a line of JSON with the names, then each array in NumPy's npy format.

    Raises
    ------
    ArgumentError
        When a value is not an array, or an array of Python objects.

    Examples
    --------
    >>> unpack(pack({"draws": [1.0, 2.0]}))
    {'draws': array([1., 2.])}
    """
    stream = io.BytesIO()
    stream.write(json.dumps(list(record)).encode() + b"\n")
    for name, value in record.items():
        try:
            np.lib.format.write_array(stream, np.asarray(value), allow_pickle=False)
        except (TypeError, ValueError):
            found = f"Entry {name!r} of the record is a {type(value).__name__} that is no plain array."
            remedy = "Take it apart, for example a random key by jax.random.key_data."
            raise ArgumentError(found, "an array of numbers, truth values or text", remedy) from None
    return stream.getvalue()


def unpack(payload: bytes) -> dict[str, np.ndarray]:
    """Named arrays of a payload: the inverse of `pack`."""
    stream = io.BytesIO(payload)
    names = json.loads(stream.readline())
    return {name: np.lib.format.read_array(stream, allow_pickle=False) for name in names}
