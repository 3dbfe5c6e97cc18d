"""Programs compiled ahead: waiting for them shows how many are done, and an error of one is not lost on the others."""

import threading

import pytest

from bayes_gmm.core.compilation import CompilingAhead


def test_waiting_shows_how_many_programs_are_compiled(capsys: pytest.CaptureFixture[str]) -> None:
    go_on = threading.Event()
    threading.Timer(1.2, go_on.set).start()
    CompilingAhead([lambda: None, go_on.wait, lambda: None]).wait(progress=True)
    shown = capsys.readouterr().err
    assert "compiling, 1 of 3 programs done" in shown


def test_waiting_is_silent_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    done = []
    CompilingAhead([lambda: 1 / 0, lambda: done.append("second")]).wait()
    assert done == ["second"]
    assert not capsys.readouterr().err
