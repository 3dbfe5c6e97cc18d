"""Milliseconds per EM iteration against scikit-learn, in one process, from the same start, in float64.

    python tests/benchmarks/bench_em.py [--repeats 5] [--json PATH]

The time of an iteration is the difference between a long and a short run, so that set-up, compilation and the
final pass do not count; our long run has ten times the steps of scikit-learn's, so that the difference can be seen.
The two take turns; medians are quoted, with the smallest and the largest ratio of a turn.
After equal numbers of iterations both must have the same log-likelihood, or the benchmark stops.
"""

import argparse
import json
import platform
import time
import warnings
from datetime import date
from importlib.metadata import version

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import bayes_gmm as bg

SHAPES = {(1_000_000, 2, 3): 8, (100_000, 10, 8): 8, (100_000, 32, 16): 4, (10_000, 2, 3): 50}
"""Points, features and components; and by how many steps scikit-learn's long run is longer than its short one."""

SHORT, MORE_FOR_OURS = 2, 10


def simulate(n_points: int, n_features: int, n_components: int) -> tuple[np.ndarray, bg.Mixture]:
    """Draw overlapping clusters and a start from which EM needs many iterations."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(n_components, n_features)) / np.sqrt(n_features)
    roots = rng.normal(size=(n_components, n_features, n_features)) * 0.2 / np.sqrt(n_features) + np.eye(n_features)
    labels = rng.integers(n_components, size=n_points)
    noise = rng.normal(size=(n_points, n_features, 1))
    x = means[labels] + (roots[labels] @ noise)[..., 0]
    start = bg.Mixture.from_moments(
        np.full(n_components, 1 / n_components), 2 * means, np.stack([np.eye(n_features)] * n_components)
    )
    return x, start


def run_ours(x: np.ndarray, start: bg.Mixture, n_steps: int) -> tuple[float, int]:
    """Log-likelihood after at most so many steps, and how many they were."""
    fit = bg.fit_em(x, start.n_components, start=start, tol=0.0, max_steps=n_steps)
    return fit.log_likelihood, fit.n_steps


def run_peer(x: np.ndarray, start: bg.Mixture, n_steps: int) -> tuple[float, int]:
    """The same by scikit-learn; its own start is computed too, in both the short and the long run."""
    peer = GaussianMixture(
        start.n_components,
        init_params="random_from_data",
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=np.linalg.inv(start.covariances),
        tol=0.0,
        reg_covar=0.0,
        max_iter=n_steps,
        random_state=0,
    ).fit(x)
    return float(peer.score(x)) * len(x), peer.n_iter_


def milliseconds_per_step(run, x: np.ndarray, start: bg.Mixture) -> float:
    """Marginal time of one step."""
    elapsed, steps = [], []
    more = SHAPES[(*x.shape, start.n_components)] * (MORE_FOR_OURS if run is run_ours else 1)
    for n_steps in (SHORT, SHORT + more):
        begin = time.perf_counter()
        steps.append(run(x, start, n_steps)[1])
        elapsed.append(time.perf_counter() - begin)
    return 1e3 * (elapsed[1] - elapsed[0]) / (steps[1] - steps[0])


def measure(shape: tuple[int, int, int], repeats: int) -> dict[str, object]:
    """Compare the two at one shape."""
    x, start = simulate(*shape)
    (ours, _), (theirs, _) = run_ours(x, start, 5), run_peer(x, start, 5)  # also compiles
    if abs(ours - theirs) > 1e-9 * abs(theirs):
        raise SystemExit(f"{shape}: log-likelihoods differ after five steps: {ours} and {theirs}")
    turns = [[milliseconds_per_step(run, x, start) for run in (run_ours, run_peer)] for _ in range(repeats)]
    medians = np.median(turns, axis=0)
    ratios = [peer / own for own, peer in turns]
    return {
        "shape": shape,
        "bayes_gmm": float(medians[0]),
        "scikit_learn": float(medians[1]),
        "ratio": float(medians[1] / medians[0]),
        "smallest_ratio": min(ratios),
        "largest_ratio": max(ratios),
    }


def main() -> None:
    """Print a Markdown table and, when asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="PATH")
    options = parser.parse_args()
    for category in (ConvergenceWarning, bg.FitWarning):
        warnings.simplefilter("ignore", category)  # runs are cut short on purpose
    print("| N, D, K | bayes_gmm, ms | scikit-learn, ms | ratio of medians (range over turns) |")
    print("|---|---|---|---|")
    rows = []
    for shape in SHAPES:
        row = measure(shape, options.repeats)
        rows.append(row)
        ratios = f"{row['ratio']:.0f} ({row['smallest_ratio']:.0f} to {row['largest_ratio']:.0f})"
        sizes = ", ".join(f"{number:,}".replace(",", " ") for number in shape)
        print(f"| {sizes} | {row['bayes_gmm']:.3g} | {row['scikit_learn']:.3g} | {ratios} |", flush=True)
    if options.json:
        names = ("bayes_gmm", "jax", "numpy", "scikit-learn")
        record = {
            "date": date.today().isoformat(),
            "machine": platform.machine(),
            "versions": {name: version(name) for name in names},
            "milliseconds_per_step": rows,
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
