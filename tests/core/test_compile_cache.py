"""The cache of compiled programs: on by default, private, bounded, never in the way, and without effect on numbers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bayes_gmm.core import compile_cache
from bayes_gmm.core.compile_cache import VARIABLE, use_compile_cache
from bayes_gmm.errors import OutputError

PROGRAM = """
import sys, jax, numpy as np, bayes_gmm as bg
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
{before}
mixture = bg.Mixture.from_moments([0.3, 0.7], [[0.0], [2.0]], [np.eye(1), 2 * np.eye(1)])
value = float(mixture.log_prob(np.linspace(-3.0, 3.0, 50_000)[:, None]).sum())
print(value.hex(), len(hits), jax.config.jax_compilation_cache_dir)
"""


class Answer:
    """What a fresh process computed, how many programs it loaded, and its cache."""

    def __init__(self, home: Path, *, before: str = "", **variables: str) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_"))}
        inherited |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), **variables}
        code = PROGRAM.format(before=before)
        done = subprocess.run(
            [sys.executable, "-c", code], env=inherited, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        self.value, hits, self.folder = done.stdout.split()
        self.n_hits, self.warnings = int(hits), done.stderr


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    home = tmp_path_factory.mktemp("home")
    return home, Answer(home)


def programs(home: Path) -> list[Path]:
    return list((home / "cache" / "bayes_gmm").glob("*/*-cache"))


def test_a_second_process_loads_what_the_first_compiled(first: tuple[Path, Answer]) -> None:
    home, answer = first
    stored = programs(home)
    again = Answer(home)
    assert answer.n_hits == 0
    assert again.n_hits >= len(stored) > 1
    assert again.value == answer.value
    assert not again.warnings


def test_the_folder_is_the_users_alone(first: tuple[Path, Answer]) -> None:
    assert Path(first[1].folder).stat().st_mode & 0o777 == 0o700


def test_damaged_programs_are_compiled_anew(first: tuple[Path, Answer]) -> None:
    home, answer = first
    for path in programs(home):
        path.write_bytes(path.read_bytes()[:100])
    assert Answer(home).value == answer.value


@pytest.mark.parametrize(
    ("before", "variables"),
    [
        ("", {VARIABLE: "off"}),
        ("bg.use_compile_cache(False)", {}),
        ("jax.config.update('jax_enable_compilation_cache', False)", {}),
    ],
    ids=["variable", "argument", "JAX switched it off"],
)
def test_it_can_be_switched_off(tmp_path: Path, before: str, variables: dict[str, str]) -> None:
    answer = Answer(tmp_path, before=before, **variables)
    assert answer.folder == "None"
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_the_user_gave_jax_is_left_alone(tmp_path: Path) -> None:
    own = str(tmp_path / "own")
    assert Answer(tmp_path, before=f"jax.config.update('jax_compilation_cache_dir', {own!r})").folder == own
    assert Answer(tmp_path, JAX_COMPILATION_CACHE_DIR=own).folder == own
    assert not (tmp_path / "cache").exists()


def test_the_variable_names_another_folder(tmp_path: Path) -> None:
    answer = Answer(tmp_path, **{VARIABLE: str(tmp_path / "other")})
    assert Path(answer.folder).parent == tmp_path / "other"


def test_without_a_folder_to_write_to_there_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file is in the way")
    answer = Answer(tmp_path)
    assert answer.folder == "None"
    assert not answer.warnings
    wrong = str(tmp_path / "cache" / "below")
    assert "cannot be made" in Answer(tmp_path, **{VARIABLE: wrong}).warnings


def test_programs_that_are_not_found_again_are_said(tmp_path: Path) -> None:
    folder = Path(Answer(tmp_path).folder)
    for path in programs(tmp_path):
        path.unlink()
    answer = Answer(tmp_path)
    assert "does not load them" in answer.warnings
    assert answer.folder == "None"
    assert (folder / "probe").exists()


def test_the_programs_not_used_for_longest_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_cache, "LARGEST", 250)
    folder = tmp_path / "jax-1"
    folder.mkdir()
    for age, name in enumerate(("new", "old", "oldest")):
        (folder / name).write_bytes(b"0" * 100)
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    compile_cache._make_room(tmp_path)
    assert {path.name for path in folder.iterdir()} == {"new", "old"}


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(OutputError, match="belongs to another user"):
        use_compile_cache(tmp_path)
