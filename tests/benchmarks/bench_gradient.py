"""Passes over the data and seconds until EM, L-BFGS and Adam are near the optimum, from the same start, in float64.

    python tests/benchmarks/bench_gradient.py [--repeats 5] [--json PATH]

The optimum is the highest log-likelihood that EM or L-BFGS reaches; "near" is within 1, 1e-2 and 1e-6 nats of it.
A pass is one evaluation of the log-likelihood of all points with its gradient: an E-step, a trial of the line search,
or N points in minibatches of Adam. Seconds are the medians of runs with as many steps as were needed, compiled before,
with everything that the call does around them. Adam has its step sizes chosen by hand, which is to its advantage; its
schedule belongs to its number of steps, so its seconds are those of the whole run, and they include the evaluations
that draw its path. A dash says that it did not come that near.
"""

import argparse
import json
import platform
import time
import warnings
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np

import bayes_gmm as bg

GAPS = (1.0, 1e-2, 1e-6)

ADAM: dict[str, Any] = {"batch_size": 64, "learning_rate": 0.02}
"""Of a few that were tried on Old Faithful; with 4000 steps or a hundred passes, whichever are more."""


def rough_start(x: np.ndarray, n_components: int) -> bg.Mixture:
    """Mixture at a few rows with the covariance of all: many steps away from anywhere."""
    rows = np.random.default_rng(0).choice(len(x), n_components, replace=False)
    covariances = np.tile(np.cov(x.T, ddof=0), (n_components, 1, 1))
    return bg.Mixture.from_moments(np.full(n_components, 1 / n_components), x[rows], covariances)


def overlapping() -> np.ndarray:
    """Ten thousand points from three clusters, about two standard deviations apart."""
    means = [[0.0, 0.0], [2.0, 0.0], [0.5, 1.8]]
    covariances = [[[1.0, 0.3], [0.3, 1.0]], [[1.0, -0.3], [-0.3, 0.8]], [[0.7, 0.0], [0.0, 1.0]]]
    return bg.Mixture.from_moments([0.4, 0.35, 0.25], means, covariances).sample(10_000, seed=0)[0]


def problems() -> dict[str, tuple[np.ndarray, bg.Mixture]]:
    """Data and start of each problem; iris starts from its species, for from a few rows it goes elsewhere."""
    faithful, iris, simulated = bg.datasets.load("faithful").values, bg.datasets.load("iris"), overlapping()
    species = np.unique(iris.labels, return_inverse=True)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bg.FitWarning)
        begun = bg.fit_em(iris, 3, start=species, max_steps=1).mixture
    return {
        "faithful, K = 2": (faithful, rough_start(faithful, 2)),
        "iris, K = 3": (iris.values, begun),
        "overlapping, N = 10 000, K = 3": (simulated, rough_start(simulated, 3)),
    }


def run_em(x: np.ndarray, start: bg.Mixture, max_steps: int | None = None) -> Any:
    """EM, of which entry i of the path is known after i + 1 passes."""
    return bg.fit_em(x, start.n_components, start=start, tol=1e-11, max_steps=max_steps or 20_000)


def run_lbfgs(x: np.ndarray, start: bg.Mixture, max_steps: int | None = None) -> Any:
    """L-BFGS."""
    return bg.fit_gradient(x, start.n_components, start=start, tol=1e-11, max_steps=max_steps or 2000)


def run_adam(x: np.ndarray, start: bg.Mixture, max_steps: int | None = None) -> Any:
    """Adam; a run cut short would have another schedule, so it is always whole."""
    whole = max(4000, 100 * len(x) // ADAM["batch_size"])
    return bg.fit_gradient(x, start.n_components, start=start, method="adam", max_steps=whole, **ADAM)


RUNS: dict[str, Callable[..., Any]] = {"EM": run_em, "L-BFGS": run_lbfgs, "Adam": run_adam}


def first_near(fit: Any, optimum: float, gap: float) -> int | None:
    """Entry of the path from which on the path stays within the gap."""
    far = np.flatnonzero(fit.path < optimum - gap)
    entry = int(far[-1]) + 1 if far.size else 0
    return entry if entry < len(fit.path) else None


def seconds(run: Callable[[], Any], repeats: int) -> float:
    """Median time of a run that has been compiled."""
    run()
    elapsed = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        elapsed.append(time.perf_counter() - begin)
    return float(np.median(elapsed))


def measure(problem: str, x: np.ndarray, start: bg.Mixture, repeats: int) -> list[dict[str, Any]]:
    """One row for each algorithm and gap."""
    fits = {name: run(x, start) for name, run in RUNS.items()}
    optimum = max(float(fits[name].path[-1]) for name in ("EM", "L-BFGS"))
    rows = []
    for name, fit in fits.items():
        passes = getattr(fit, "passes", np.arange(1.0, len(fit.path) + 1))
        for gap in GAPS:
            entry = first_near(fit, optimum, gap)
            row = {"problem": problem, "algorithm": name, "nats": gap, "final_gap": optimum - float(fit.path[-1])}
            if entry is not None:
                steps = max(entry, 1)
                timed = seconds(lambda run=RUNS[name], steps=steps: run(x, start, steps), repeats)
                row |= {"passes": float(passes[entry]), "seconds": timed}
            rows.append(row)
    return rows


def show(row: dict[str, Any]) -> str:
    """A row of the Markdown table."""
    passes, elapsed = (f"{row[name]:.3g}" if name in row else "-" for name in ("passes", "seconds"))
    final = f"{row['final_gap']:.1e}"
    return f"| {row['problem']} | {row['algorithm']} | {row['nats']:.0e} | {passes} | {elapsed} | {final} |"


def main() -> None:
    """Print a Markdown table and, when asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="PATH")
    options = parser.parse_args()
    warnings.simplefilter("ignore", bg.FitWarning)  # runs are cut short on purpose
    print("| data | algorithm | within, nats | passes | seconds | nats short at its end |")
    print("|---|---|---|---|---|---|")
    rows = []
    for problem, (x, start) in problems().items():
        found = measure(problem, x, start, options.repeats)
        rows += found
        print("\n".join(map(show, found)), flush=True)
    if options.json:
        record = {
            "date": date.today().isoformat(),
            "machine": platform.machine(),
            "versions": {name: version(name) for name in ("bayes_gmm", "jax", "numpy", "optax")},
            "adam": ADAM,
            "rows": rows,
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
