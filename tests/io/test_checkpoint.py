"""A checkpoint keeps every complete record when the process is killed or the disk is full, and refuses other files."""

import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.io.checkpoint import Checkpoint

IDENTITY = {"seed": 3, "table": "a1b2", "tolerance": 0.1}


def record(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    return {"number": np.asarray(number), "draws": rng.standard_normal((2, 3))}


def check_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """The arrays have the expected names in this order, and are of equal types and bits."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def written(path: Path, n_records: int) -> list[int]:
    """Write records; returns the sizes of the file after the header and after each record."""
    with Checkpoint.open(path, IDENTITY) as checkpoint:
        assert checkpoint.records == []
        sizes = [path.stat().st_size]
        for number in range(n_records):
            checkpoint.append(record(number))
            sizes.append(path.stat().st_size)
    return sizes


def check_holds(path: Path, n_records: int, *, dropped: bool = False) -> None:
    """The file has exactly the first `n_records` records, and takes another one after them."""
    with Checkpoint.open(path, IDENTITY) as checkpoint:
        assert len(checkpoint.records) == n_records
        for number, found in enumerate(checkpoint.records):
            check_same(found, record(number))
        assert (checkpoint.note is not None) == dropped
        checkpoint.append(record(n_records))
    with Checkpoint.open(path, IDENTITY) as checkpoint:
        assert len(checkpoint.records) == n_records + 1
        check_same(checkpoint.records[-1], record(n_records))
        assert checkpoint.note is None


def test_arrays_of_every_kind_come_back_bit_by_bit(tmp_path: Path) -> None:
    special = np.array([np.nan, -0.0, np.inf, 5e-324, 0.1, np.nextafter(1, 2)])
    first = {
        "float64": special,
        "float32": np.float32(special),
        "key": np.asarray(jax.random.key_data(jax.random.key(7))),
        "truth": np.array([[True, False]]),
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3)),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array(["a", "bc"]),
        "big endian": np.arange(3, dtype=">i4"),
        "file": np.arange(3),  # a name that numpy.savez uses itself
        "a/b.npy \n ü": np.uint8(3),
    }
    with Checkpoint.open(tmp_path / "run", IDENTITY) as checkpoint:
        checkpoint.append(first)
        checkpoint.append({})
    with Checkpoint.open(tmp_path / "run", IDENTITY) as checkpoint:
        check_same(checkpoint.records[0], {name: np.asarray(array) for name, array in first.items()})
        assert checkpoint.records[1:] == [{}]
        assert first["key"].dtype == np.uint32


@pytest.mark.parametrize("value", [{1, 2}, [{}, None], jax.random.key(0)], ids=["set", "objects", "typed key"])
def test_what_is_no_array_is_refused_and_nothing_is_written(tmp_path: Path, value: object) -> None:
    sizes = written(tmp_path / "run", 1)
    with Checkpoint.open(tmp_path / "run", IDENTITY) as checkpoint, pytest.raises(bg.ArgumentError, match="'bad'"):
        checkpoint.append({"good": np.zeros(3), "bad": value})
    assert (tmp_path / "run").stat().st_size == sizes[-1]


def test_an_append_writes_the_record_alone(tmp_path: Path) -> None:
    sizes = np.diff(written(tmp_path / "run", 50))
    assert np.ptp(sizes) == 0
    assert sizes[0] < 600


# Files after a kill, a power failure or a disk error


def test_cut_anywhere_exactly_the_whole_records_remain(tmp_path: Path) -> None:
    path = tmp_path / "run"
    sizes = written(path, 3)
    content = path.read_bytes()
    everywhere = set(range(sizes[2], sizes[3] + 1))
    elsewhere = set(range(0, sizes[2], 7)) | {size + step for size in sizes[:2] for step in (-1, 0, 1)}
    for length in sorted(everywhere | elsewhere):
        path.write_bytes(content[:length])
        n_whole = sum(size <= length for size in sizes[1:])
        check_holds(path, n_whole, dropped=length not in sizes and length > sizes[0])


def test_any_changed_bit_before_the_last_record_is_refused_and_the_file_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    sizes = written(path, 3)
    content = path.read_bytes()
    for position in range(sizes[2]):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(bg.ArgumentError, match=r"damaged|no checkpoint|version"):
            Checkpoint.open(path, IDENTITY)
        assert path.read_bytes() == damaged
    path.write_bytes(content)  # negative control
    check_holds(path, 3)


def test_a_changed_bit_in_the_last_record_never_passes(tmp_path: Path) -> None:
    path = tmp_path / "run"
    sizes = written(path, 3)
    content = path.read_bytes()
    for position in range(sizes[2], sizes[3]):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        if position < sizes[2] + 16:  # a damaged head does not tell where the record would end
            with pytest.raises(bg.ArgumentError, match="damaged"):
                Checkpoint.open(path, IDENTITY)
        else:
            check_holds(path, 2, dropped=True)


def test_records_lost_repeated_or_exchanged_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    sizes = written(path, 4)
    content = path.read_bytes()
    header, *frames = (content[start:end] for start, end in zip([0, *sizes], sizes, strict=False))
    for order in ([0, 2, 3], [1, 2, 3], [0, 0, 1, 2, 3], [0, 2, 1, 3]):
        path.write_bytes(header + b"".join(frames[i] for i in order))
        with pytest.raises(bg.ArgumentError, match="damaged"):
            Checkpoint.open(path, IDENTITY)
    path.write_bytes(header + b"".join(frames))
    check_holds(path, 4)


@pytest.mark.parametrize("n_zeros", [5, 16, 1000, 3_000_000])
def test_room_made_for_a_record_that_never_came_is_dropped(tmp_path: Path, n_zeros: int) -> None:
    path = tmp_path / "run"
    written(path, 2)
    content = path.read_bytes()
    path.write_bytes(content + bytes(n_zeros))
    check_holds(path, 2, dropped=True)
    path.write_bytes(content + bytes(n_zeros + 16) + b"x")
    with pytest.raises(bg.ArgumentError, match="damaged"):
        Checkpoint.open(path, IDENTITY)


APPEND_FOREVER = """
    import sys, itertools, numpy as np
    from bayes_gmm.io.checkpoint import Checkpoint
    with Checkpoint.open(sys.argv[1], {"run": 1}) as checkpoint:
        for number in itertools.count(len(checkpoint.records)):
            size = 1 + number * 7919 % 30_000
            checkpoint.append({"number": np.asarray(number), "draws": np.full(size, float(number))})
            print(number, flush=True)
    """


def test_a_run_that_is_killed_again_and_again_loses_nothing_it_has_acknowledged(tmp_path: Path) -> None:
    path, rng, acknowledged = tmp_path / "run", np.random.default_rng(0), -1
    command = [sys.executable, "-c", textwrap.dedent(APPEND_FOREVER), str(path)]
    for _ in range(8):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        acknowledged = int(process.stdout.readline())  # it has started
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        rest = process.communicate()[0].splitlines(keepends=True)
        acknowledged = max([acknowledged, *(int(line) for line in rest if line.endswith("\n"))])
        assert process.returncode == -signal.SIGKILL
        with Checkpoint.open(path, {"run": 1}) as checkpoint:
            assert len(checkpoint.records) in (acknowledged + 1, acknowledged + 2)
            for number, found in enumerate(checkpoint.records):
                assert found["number"] == number
                assert (found["draws"] == number).all()
                assert len(found["draws"]) == 1 + number * 7919 % 30_000
    assert acknowledged > 8


# Files that cannot be written


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_is_reported_and_the_records_so_far_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "run"
    written(path, 2)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Checkpoint.open(path, IDENTITY) as checkpoint:
        with monkeypatch.context() as patch, HalfFull(path, "ab") as full:
            if step == "fsync":
                patch.setattr(os, "fsync", fail)
            else:
                patch.setattr(checkpoint, "_file", full)
            for _ in range(2):
                with pytest.raises(bg.OutputError, match="No space left on device"):
                    checkpoint.append(record(2))
            assert step == "fsync" or full.room == 0
        checkpoint.append(record(2))  # there is room again
    check_holds(path, 3)


class HalfFull(io.FileIO):
    """A file that accepts ten bytes and no more, and that cannot be made shorter."""

    room = 10

    def truncate(self, size: int) -> None:
        if size < os.fstat(self.fileno()).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, content: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken, self.room = super().write(content[: self.room]), 0
        return taken


@pytest.mark.skipif(os.name != "posix", reason="limits of the file size are set the Unix way")
def test_a_limit_of_the_file_size_is_reported_and_the_records_so_far_survive(tmp_path: Path) -> None:
    path = tmp_path / "run"
    code = """
        import resource, signal, sys, numpy as np
        from bayes_gmm import OutputError
        from bayes_gmm.io.checkpoint import Checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Checkpoint.open(sys.argv[1], {"run": 1}) as checkpoint:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
            try:
                for number in range(100):
                    checkpoint.append({"draws": np.full(100, number)})
            except OutputError as error:
                print(number, error)
        """
    command = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    number, message = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split(" ", 1)
    assert "File too large" in message
    with Checkpoint.open(path, {"run": 1}) as checkpoint:
        assert [found["draws"][0] for found in checkpoint.records] == list(range(int(number)))
        assert checkpoint.note is None
    assert int(number) == 5


def test_a_path_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    for path in (tmp_path / "no folder" / "run", tmp_path):
        with pytest.raises(bg.OutputError, match="cannot be written"):
            Checkpoint.open(path, IDENTITY)


def test_two_runs_on_one_file_are_noticed(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    path = tmp_path / "run"
    with Checkpoint.open(path, IDENTITY), pytest.raises(bg.OutputError, match="open in another run"):
        Checkpoint.open(path, IDENTITY)
    check_holds(path, 0)


# Files of other runs and programs


@pytest.mark.parametrize(
    ("changes", "found", "expected"),
    [
        ({"seed": 4}, "its seed is 3", "seed 4"),
        ({"tolerance": np.float64(0.2)}, "its tolerance is 0.1", "tolerance 0.2"),
        ({"table": "x", "seed": 1}, r"its seed is 3 \(and 1 more differ\)", "seed 1"),
        ({"chains": 2}, "its chains is 'missing'", "chains 2"),
    ],
)
def test_another_identity_is_refused_by_name(
    tmp_path: Path, changes: dict[str, str | int | float], found: str, expected: str
) -> None:
    path = tmp_path / "run"
    written(path, 1)
    with pytest.raises(bg.ArgumentError, match=f"{found}.*Expected {expected}.*delete"):
        Checkpoint.open(path, IDENTITY | changes)
    check_holds(path, 1)


def test_an_equal_identity_in_another_order_or_type_is_the_same(tmp_path: Path) -> None:
    written(tmp_path / "run", 1)
    same = {"tolerance": np.float64(0.1), "table": "a1b2", "seed": np.int64(3)}
    with Checkpoint.open(tmp_path / "run", same) as checkpoint:
        assert len(checkpoint.records) == 1


@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"\x89HDF\r\n\x1a\n" * 100, bytes(1000), b"bayes_gmm checkpoint x\n"]
)
def test_another_format_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run"
    path.write_bytes(content)
    with pytest.raises(bg.ArgumentError, match="is no checkpoint"):
        Checkpoint.open(path, IDENTITY)
    assert path.read_bytes() == content


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    written(path, 1)
    path.write_bytes(path.read_bytes().replace(b"checkpoint 1\n", b"checkpoint 12\n", 1))
    with pytest.raises(bg.ArgumentError, match=r"version 12 .* Expected version 1\."):
        Checkpoint.open(path, IDENTITY)
