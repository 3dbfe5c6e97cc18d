"""Milliseconds per EM iteration against scikit-learn and gmmx, in one process, from the same start, in float64.

    python tests/benchmarks/bench_em.py [--repeats 5] [--json PATH]

gmmx, which computes in float32, is measured where it is installed (pip install gmmx). The roofline is the time that
N K exponentials and 4 N M K floating-point operations, M = D (D + 3) / 2 + 1, would take at the rates measured in the
same run.

The time of an iteration is the difference between a long and a short run, so that set-up, compilation and the
final pass do not count; our long run has ten times the steps of scikit-learn's, so that the difference can be seen.
All take turns; medians are quoted, with the smallest and the largest ratio of a turn.
After equal numbers of iterations both must have the same log-likelihood, or the benchmark stops.
"""

import argparse
import json
import platform
import time
import warnings
from datetime import date
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

import bayes_gmm as bg

try:
    import gmmx
except ImportError:
    gmmx = None

SHAPES = {(1_000_000, 2, 3): 8, (100_000, 10, 8): 8, (100_000, 32, 16): 4, (10_000, 2, 3): 50}
"""Points, features and components; and by how many steps scikit-learn's long run is longer than its short one."""

SHORT = 2


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
    fit = bg.fit_em(x, start.n_components, start=start, tol=0.0, max_steps=n_steps, accelerate=False)
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


def run_gmmx(x: np.ndarray, start: bg.Mixture, n_steps: int) -> tuple[float, int]:
    """The same by gmmx, compiled for this number of steps beforehand; it takes nothing but float32."""
    moments = {name: np.asarray(getattr(start, name), np.float32) for name in ("weights", "means", "covariances")}
    model = gmmx.GaussianMixtureModelJax.from_squeezed(**{name: jnp.asarray(value) for name, value in moments.items()})
    fitter = gmmx.EMFitter(max_iter=n_steps, tol=0.0, reg_covar=0.0)
    result = fitter.fit(x=jnp.asarray(x, jnp.float32), gmm=model)
    densities = result.gmm.score_samples(jnp.asarray(x, jnp.float32))
    return float(np.asarray(densities, float).sum()), int(result.n_iter)


PROGRAMS = {"bayes_gmm": run_ours, "scikit_learn": run_peer} | ({} if gmmx is None else {"gmmx": run_gmmx})
MORE = {"bayes_gmm": 10, "scikit_learn": 1, "gmmx": 3}
"""How many times scikit-learn's additional steps each program makes, so that the difference can be seen."""


def milliseconds_per_step(name: str, x: np.ndarray, start: bg.Mixture) -> float:
    """Marginal time of one step."""
    elapsed, steps = [], []
    more = SHAPES[(*x.shape, start.n_components)] * MORE[name]
    for n_steps in (SHORT, SHORT + more):
        begin = time.perf_counter()
        steps.append(PROGRAMS[name](x, start, n_steps)[1])
        elapsed.append(time.perf_counter() - begin)
    return 1e3 * (elapsed[1] - elapsed[0]) / (steps[1] - steps[0])


def rates() -> tuple[float, float]:
    """Exponentials and floating-point operations of a matrix product in a second, on this machine now."""
    numbers, matrix = (
        np.random.default_rng(0).normal(size=(8, 4416)),
        np.random.default_rng(1).normal(size=(1500, 1500)),
    )
    with jax.enable_x64(True):
        exponentials = jax.jit(lambda x: jax.lax.fori_loop(0, 2000, lambda _, y: jnp.exp(-y), x))
        multiply = jax.jit(jnp.matmul)
        exp_time = min(timed(exponentials, numbers) for _ in range(5))
        product_time = min(timed(multiply, matrix, matrix) for _ in range(5))
    return 2000 * numbers.size / exp_time, 2 * 1500**3 / product_time


def timed(function, *arguments) -> float:
    """Seconds of a call, the second of two."""
    jax.block_until_ready(function(*arguments))
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - begin


def roofline(shape: tuple[int, int, int]) -> float:
    """Milliseconds that the operations of one step cannot fall below."""
    N, D, K = shape
    per_second = rates()
    return 1e3 * (N * K / per_second[0] + 4 * N * (D * (D + 3) // 2 + 1) * K / per_second[1])


def measure(shape: tuple[int, int, int], repeats: int) -> dict[str, object]:
    """Compare the programs at one shape."""
    x, start = simulate(*shape)
    values = {name: run(x, start, 5)[0] for name, run in PROGRAMS.items()}
    for name in PROGRAMS:
        milliseconds_per_step(name, x, start)  # compiles
        if abs(values[name] / values["bayes_gmm"] - 1) > (1e-5 if name == "gmmx" else 1e-9):
            raise SystemExit(f"{shape}: log-likelihoods differ after five steps: {values}")
    turns = [{name: milliseconds_per_step(name, x, start) for name in PROGRAMS} for _ in range(repeats)]
    row: dict[str, object] = {"shape": shape}
    for name in PROGRAMS:
        row[name] = float(np.median([turn[name] for turn in turns]))
        ratios = [turn[name] / turn["bayes_gmm"] for turn in turns]
        row[f"ratio_{name}"] = {"of_medians": row[name] / row["bayes_gmm"], "range": [min(ratios), max(ratios)]}
    row["roofline"] = float(np.median([roofline(shape) for _ in range(3)]))
    row["fraction_of_roofline"] = row["roofline"] / row["bayes_gmm"]
    return row


def describe(row: dict[str, object]) -> str:
    """One line of the Markdown table."""
    cells = [", ".join(f"{number:,}".replace(",", " ") for number in row["shape"]), f"{row['bayes_gmm']:.3g}"]
    for name in list(PROGRAMS)[1:]:
        ratio = row[f"ratio_{name}"]
        low, high = ratio["range"]
        cells.append(f"{row[name]:.3g} = {ratio['of_medians']:.1f}x ({low:.0f} to {high:.0f})")
    return "| " + " | ".join([*cells, f"{row['fraction_of_roofline']:.2f}"]) + " |"


def main() -> None:
    """Print a Markdown table and, when asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", metavar="PATH")
    options = parser.parse_args()
    for category in (ConvergenceWarning, bg.FitWarning):
        warnings.simplefilter("ignore", category)  # runs are cut short on purpose
    print(
        "| N, D, K | bayes_gmm, ms | " + " | ".join(f"{name}, ms" for name in list(PROGRAMS)[1:]) + " | of roofline |"
    )
    print("|---" * (len(PROGRAMS) + 2) + "|")
    rows = []
    for shape in SHAPES:
        rows.append(measure(shape, options.repeats))
        print(describe(rows[-1]), flush=True)
    if options.json:
        names = ["bayes_gmm", "jax", "numpy", "scikit-learn"] + (["gmmx"] if gmmx else [])
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
