"""A process that was forked after JAX ran in its parent says so instead of waiting for ever; a spawned one computes."""

import multiprocessing
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.core import precision

SCRIPT = """
    import multiprocessing, sys, warnings
    import numpy as np
    import bayes_gmm as bg

    def fitted(seed):
        x = np.random.default_rng(seed).normal(size=(40, 1))
        return bg.fit_em(x, 1, n_starts=1).log_likelihood

    def child(seed, results, before):
        try:
            if before == "jax in child":
                import jax.numpy as jnp
                jnp.ones(3).sum().block_until_ready()
            results.put(fitted(seed))
        except bg.BayesGMMError as error:
            results.put(str(error))

    if __name__ == "__main__":
        warnings.simplefilter("ignore")
        method, before = sys.argv[1:]
        own = fitted(0) if before == "ran" else None
        if before == "own jax":  # nothing of this package ran in the parent
            import jax.numpy as jnp
            jnp.ones(3).sum().block_until_ready()
        context = multiprocessing.get_context(method)
        results = context.Queue()
        process = context.Process(target=child, args=(0, results, before), daemon=True)
        process.start()
        print(results.get(timeout=100), own)
        process.join(5)
        process.kill()
    """


def printed(tmp_path, *arguments):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    process = subprocess.run(
        [sys.executable, path, *arguments], capture_output=True, text=True, check=False, timeout=200
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.parametrize("before", ["ran", "own jax"])
def test_a_fork_after_jax_ran_is_refused_with_the_way_out(before, tmp_path):
    said = printed(tmp_path, "fork", before)
    assert "forked after JAX had run" in said
    assert '"spawn"' in said


def test_a_posterior_is_refused_there_before_it_reaches_jax(monkeypatch):
    monkeypatch.setattr(precision, "_process", [precision._PARENT])
    x = bg.datasets.load("galaxies")
    verbs = {
        "fit_em": lambda: bg.fit_em(x, 2),
        "fit_laplace": lambda: bg.fit_laplace(x, 2),
        "fit_nuts": lambda: bg.fit_nuts(x, 2, progress=False),
        "prior_predictive": lambda: bg.prior_predictive(x, 2),
    }
    for verb in verbs.values():
        with pytest.raises(bg.FitError, match="forked"):
            verb()


@pytest.mark.parametrize(("method", "before"), [("spawn", "ran"), ("fork", "not"), ("fork", "jax in child")])
def test_a_process_with_a_jax_of_its_own_computes(method, before, tmp_path):
    found, own = printed(tmp_path, method, before).split()
    if before == "ran":
        assert float(found) == float(own)
    assert np.isfinite(float(found))
