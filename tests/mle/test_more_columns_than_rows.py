"""Structures without covariances take more columns than rows; nothing of them grows with the square of the columns."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import bayes_gmm as bg

GROUPS = np.repeat([0, 1], 15)
X = np.random.default_rng(19).normal(size=(30, 40)) + 2 * GROUPS[:, None]
START = np.where(np.arange(30) % 7 == 0, 1 - GROUPS, GROUPS)


@pytest.mark.parametrize("kind", ["diag", "spherical", "EEI", "EII", "VEI"])
def test_a_structure_without_covariances_finds_two_groups(kind):
    fit = bg.fit_em(X, 2, covariance_type=kind, start=START)
    assert fit.status.name == "CONVERGED"
    np.testing.assert_array_equal(fit.mixture.predict(X), GROUPS)


@pytest.mark.parametrize("kind", ["full", "tied", "VEV"])
def test_a_structure_with_covariances_names_those_without(kind):
    with pytest.raises(bg.DataError, match="30 rows of 40 columns") as refused:
        bg.fit_em(X, 2, covariance_type=kind)
    assert 'covariance_type="diag" or "spherical"' in refused.value.remedy


@pytest.mark.parametrize("verb", [bg.fit_nuts, bg.fit_laplace, bg.prior_predictive])
def test_a_posterior_says_that_it_needs_more_rows_whatever_the_structure(verb):
    with pytest.raises(bg.DataError, match="30 rows of 40 columns") as refused:
        verb(X, 2, covariance_type="diag")
    assert "of any structure" in refused.value.expected
    assert 'fit_em with covariance_type="diag"' in refused.value.remedy


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_five_hundred_columns_take_no_memory_of_their_square():
    """Densities of 2000 rows in 512 columns: a square for each row would take 4 GB."""
    script = """
        from pathlib import Path
        import numpy as np
        from bayes_gmm.estimators import GaussianMixture

        rng = np.random.default_rng(20)
        speakers = np.repeat(np.arange(4), 500)
        x = (rng.normal(size=(4, 512))[speakers] * 0.6 + rng.normal(size=(2000, 512))).astype(np.float32)
        found = GaussianMixture(4, covariance_type="diag", random_state=0).fit(x).predict_proba(x).argmax(1)
        pure = np.mean([np.bincount(found[speakers == k], minlength=4).max() / 500 for k in range(4)])
        (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        print(pure, int(peak.split()[1]) / 2**20)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=300
    )
    pure, gigabytes = map(float, done.stdout.split())
    assert pure > 0.9
    assert gigabytes < 1.5
