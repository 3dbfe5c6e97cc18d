"""A killed run continues from its checkpoint to the draws of an uninterrupted run; a failing file loses no draws."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.io.checkpoint import Checkpoint

pytestmark = pytest.mark.numpyro

OPTIONS = {"num_warmup": 100, "num_samples": 200, "num_chains": 2, "progress": False}


@pytest.fixture(scope="module")
def uninterrupted(faithful: bg.Table, faithful_mle: bg.EMFit) -> bg.Posterior:
    return bg.fit_nuts(faithful, 2, start=faithful_mle, **OPTIONS)


def test_a_checkpoint_changes_no_draw(faithful: bg.Table, uninterrupted: bg.Posterior, tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = bg.fit_nuts(faithful, 2, checkpoint=path, **OPTIONS)
    size = path.stat().st_size
    again = bg.fit_nuts(faithful, 2, checkpoint=path, **OPTIONS)
    assert path.stat().st_size == size  # all draws were in the file, so none was sampled again
    for posterior in (first, again):
        np.testing.assert_array_equal(posterior.draws.means, uninterrupted.draws.means)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_torn_file_continues_to_the_same_draws(
    share: float, faithful: bg.Table, uninterrupted: bg.Posterior, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    bg.fit_nuts(faithful, 2, checkpoint=path, **OPTIONS)
    os.truncate(path, int(share * path.stat().st_size))
    found = bg.fit_nuts(faithful, 2, checkpoint=path, **OPTIONS)
    np.testing.assert_array_equal(found.draws.scale_tril, uninterrupted.draws.scale_tril)
    np.testing.assert_array_equal(found.tree["sample_stats"]["lp"], uninterrupted.tree["sample_stats"]["lp"])


def test_a_longer_run_goes_on_from_a_shorter_one(
    faithful: bg.Table, uninterrupted: bg.Posterior, tmp_path: Path
) -> None:
    bg.fit_nuts(faithful, 2, checkpoint=tmp_path / "run", **OPTIONS)
    longer = bg.fit_nuts(faithful, 2, checkpoint=tmp_path / "run", **(OPTIONS | {"num_samples": 300}))
    assert longer.draws.means.shape[:2] == (2, 300)
    np.testing.assert_array_equal(longer.draws.means[:, :200], uninterrupted.draws.means)


KILLED = """
import sys, bayes_gmm as bg
bg.fit_nuts(bg.datasets.load("faithful"), 2, checkpoint=sys.argv[1], num_warmup=100, num_samples=100_000, num_chains=2,
            progress=False)
"""


def test_a_killed_process_loses_nothing_that_was_finished(
    faithful: bg.Table, uninterrupted: bg.Posterior, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    # Programs compiled with other optimisations round differently.
    same = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(jax.config.read("jax_disable_most_optimizations")))}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], env=same)
    deadline = time.monotonic() + 300
    while not (path.exists() and path.stat().st_size > 200_000) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    found = bg.fit_nuts(faithful, 2, checkpoint=path, **OPTIONS)
    np.testing.assert_array_equal(found.draws.means, uninterrupted.draws.means)


@pytest.mark.parametrize(
    ("changes", "entry"),
    [
        ({"seed": 1}, "seed"),
        ({"num_chains": 3}, "num_chains"),
        ({"num_warmup": 50}, "num_warmup"),
        ({"target_accept_prob": 0.9}, "target_accept_prob"),
        ({"prior": bg.Prior(correlations=0.0)}, "prior"),
        ({"covariance_type": "tied"}, "covariance_type"),
        ({"n_components": 3}, "n_components"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changes: dict, entry: str, faithful: bg.Table, tmp_path: Path) -> None:
    arguments = {"n_components": 2} | OPTIONS | {"num_samples": 10}
    bg.fit_nuts(faithful, checkpoint=tmp_path / "run", **arguments)
    with pytest.raises(bg.ArgumentError, match=rf"of another run: its .*{entry}"):
        bg.fit_nuts(faithful, checkpoint=tmp_path / "run", **(arguments | changes))


def test_a_full_disk_is_said_and_the_draws_are_kept(
    faithful: bg.Table, uninterrupted: bg.Posterior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, calls = Checkpoint.append, []

    def full(self: Checkpoint, record: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            monkeypatch.setattr(os, "fsync", no_room)
        append(self, record)

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Checkpoint, "append", full)
    with pytest.warns(bg.FitWarning, match=r"goes on without its checkpoint.*No space left"):
        found = bg.fit_nuts(faithful, 2, checkpoint=tmp_path / "run", **OPTIONS)
    np.testing.assert_array_equal(found.draws.means, uninterrupted.draws.means)
    monkeypatch.undo()
    resumed = bg.fit_nuts(faithful, 2, checkpoint=tmp_path / "run", **OPTIONS)
    np.testing.assert_array_equal(resumed.draws.means, uninterrupted.draws.means)


def test_a_folder_that_is_missing_is_named_before_sampling(faithful: bg.Table, tmp_path: Path) -> None:
    with pytest.raises(bg.OutputError, match="missing"):
        bg.fit_nuts(faithful, 2, checkpoint=tmp_path / "missing" / "run", **OPTIONS)
