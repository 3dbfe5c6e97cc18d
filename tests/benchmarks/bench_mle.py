"""What a user waits for in maximum likelihood: restarts, slow convergence, resampling, selection, compilation, memory.

    python tests/benchmarks/bench_mle.py [MEASURE ...] [--json PATH]

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
from pathlib import Path

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
    """Twenty starts to the optimum, against scikit-learn with n_init=20.

    At its own tolerance scikit-learn stops far below the maximum; the fair peer has the tolerance at which it ends
    within 0.1 nats of it, and is run once.
    """
    x = clusters(50_000, 8, 6, apart=1.0, seed=0)
    fits = {}

    def ours():
        fits["ours"] = bg.fit_em(x, 6, n_starts=20)

    def theirs(tol: float):
        fits[tol] = GaussianMixture(6, n_init=20, reg_covar=0.0, random_state=0, tol=tol, max_iter=10_000).fit(x)

    ours()
    mine = float(np.median([seconds(ours) for _ in range(3)]))
    rows = []
    for tol in (1e-3, 1e-7):
        peer = seconds(lambda tol=tol: theirs(tol))
        rows.append(
            {"tol": tol, "seconds": peer, "ratio": peer / mine, "log_likelihood": float(fits[tol].score(x)) * len(x)}
        )
    return {"seconds": mine, "log_likelihood": fits["ours"].log_likelihood, "scikit_learn": rows}


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
    """Print the measurements and, when asked, write JSON, in which those not asked for stay."""
    measures = {m.__name__: m for m in (resampling, compilations, memory, acceleration, selection, restarts)}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"some of {', '.join(measures)}; all by default")
    parser.add_argument("--json", metavar="PATH", type=Path)
    options = parser.parse_args()
    for category in (ConvergenceWarning, bg.FitWarning):
        warnings.simplefilter("ignore", category)
    record = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    for name in options.measures or measures:
        record[name] = measures[name]()
        print(name, record[name], flush=True)
    record |= {"date": date.today().isoformat(), "machine": platform.machine()}
    record["versions"] = {name: version(name) for name in ("bayes_gmm", "jax", "numpy", "scikit-learn")}
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
