"""What a user waits for in maximum likelihood: restarts, slow convergence, resampling, selection, compilation, memory.

    python tests/benchmarks/bench_mle.py [--json PATH]

Wall times are warm (compiled) unless they say first call; peers run in the same process, and all take turns.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
import warnings
from datetime import date
from importlib.metadata import version

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import bayes_gmm as bg
from bayes_gmm.covariance import STRUCTURES

MEMORY = """
import resource, numpy as np, bayes_gmm as bg, warnings
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
x = rng.normal(size=(10_000_000, 4))
x += 4 * rng.integers(0, 2, size=(10_000_000, 1))
start = bg.Mixture.from_moments(np.full(8, 1 / 8), x[:8], np.tile(np.eye(4), (8, 1, 1)))
bg.fit_em(x, 8, start=start, max_steps=3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def clusters(n_points: int, n_features: int, n_components: int, apart: float, seed: int) -> np.ndarray:
    """Gaussian clusters with random means, `apart` within-cluster sds from one another on average."""
    rng = np.random.default_rng(seed)
    means = apart * rng.normal(size=(n_components, n_features))
    return means[rng.integers(n_components, size=n_points)] + rng.normal(size=(n_points, n_features))


def seconds(function) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def restarts() -> dict[str, object]:
    """Twenty starts to the optimum, against scikit-learn with n_init=20 and its own looser tolerance."""
    x = clusters(50_000, 8, 6, apart=1.0, seed=0)
    fits = {}

    def ours():
        fits["ours"] = bg.fit_em(x, 6, n_starts=20)

    def theirs():
        fits["theirs"] = GaussianMixture(6, n_init=20, reg_covar=0.0, random_state=0).fit(x)

    ours()
    turns = [(seconds(ours), seconds(theirs)) for _ in range(2)]
    mine, peer = np.median(turns, axis=0)
    values = fits["ours"].log_likelihood, float(fits["theirs"].score(x)) * len(x)
    return {"seconds": mine, "scikit_learn": peer, "ratio": peer / mine, "log_likelihoods": values}


def acceleration() -> list[dict[str, object]]:
    """Steps to convergence on strongly overlapping components, with and without long steps."""
    rows = []
    for seed, (n_features, n_components) in enumerate([(1, 2), (2, 3), (2, 3), (5, 4)]):
        x = clusters(3000, n_features, n_components, apart=0.9, seed=seed)
        steps = [
            np.median(
                [bg.fit_em(x, n_components, n_starts=1, seed=s, max_steps=20_000, **how).n_steps for s in range(5)]
            )
            for how in ({}, {"accelerate": False})
        ]
        rows.append(
            {"D, K": (n_features, n_components), "steps": steps[0], "plain": steps[1], "ratio": steps[1] / steps[0]}
        )
    return rows


def resampling() -> dict[str, float]:
    """A thousand bootstrap replicates of faithful, K = 2."""
    fit = bg.fit_em(bg.datasets.load("faithful"), 2)
    bg.bootstrap(fit)
    return {
        kind: float(np.median([seconds(lambda kind=kind: bg.bootstrap(fit, kind=kind)) for _ in range(3)]))
        for kind in ("rows", "weights")
    }


def selection() -> dict[str, float]:
    """All structures and K = 1..9 on iris; mclust 6.0.0 took 0.47 s on a like machine."""
    x = bg.datasets.load("iris")

    def select():
        bg.select_em(x, range(1, 10), covariance_type=STRUCTURES, progress=False)

    return {"first call": seconds(select), "warm": float(np.median([seconds(select) for _ in range(3)]))}


def compilations() -> dict[str, int]:
    """Programs compiled by fits of 30 tables of different lengths, K = 3, D = 2."""
    events = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: events.append(name))
    rng, shapes = np.random.default_rng(0), np.geomspace(5000, 200_000, 30).astype(int)
    for length in shapes:
        x = rng.normal(size=(length, 2)) + 5 * rng.integers(0, 3, size=(length, 1))
        bg.fit_em(
            x, 3, start=bg.Mixture.from_moments(np.full(3, 1 / 3), x[:3], np.tile(np.eye(2), (3, 1, 1))), max_steps=2
        )
    return {"tables": len(shapes), "programs": sum(name.endswith("backend_compile_duration") for name in events)}


def memory() -> float:
    """Peak of a whole process that fits N = 1e7, D = 4, K = 8, in gigabytes."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def main() -> None:
    """Print every measurement and, when asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="PATH")
    options = parser.parse_args()
    for category in (ConvergenceWarning, bg.FitWarning):
        warnings.simplefilter("ignore", category)
    record: dict[str, object] = {}
    for measure in (resampling, compilations, memory, acceleration, selection, restarts):
        record[measure.__name__] = measure()
        print(measure.__name__, record[measure.__name__], flush=True)
    if options.json:
        about = {"date": date.today().isoformat(), "machine": platform.machine()}
        versions = {name: version(name) for name in ("bayes_gmm", "jax", "numpy", "scikit-learn")}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({**about, "versions": versions, **record}, file, indent=1)


if __name__ == "__main__":
    main()
