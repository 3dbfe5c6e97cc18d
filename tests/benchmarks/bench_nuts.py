"""Effective draws per second of `fit_nuts` against NumPyro, PyStan and PyMC with nutpie, and what a user waits.

    python tests/benchmarks/bench_nuts.py [PART ...] [--repeats 3] [--json PATH]

Parts: gradient, wait (second fit; first fit of a process), faithful, thousand and ten_thousand (points, against the
peers), large (more features or components), and, only when named, million. On two quiet cores `gradient` takes seconds,
`wait` one minute, `faithful` four, `thousand` eight, `ten_thousand` and `large` some five each, `million` five; on a
busy machine several times as much. With `--json` each part is written when it is done, and the others in the file stay.

All programs see the same data and prior in one process, begin at the same EM fit and run 4 chains: ours 150 + 500
transitions, peers 500 + 500. ESS is the smallest bulk ESS of any weight, mean, scale or correlation after relabelling,
which is outside the clock for peers and inside for `fit_nuts`. "Whole" counts all that `fit_nuts` does, "sampling" its
warm-up and draws; NumPyro's MCMC compiles at every run, which its "whole" counts and its "sampling" does not.
Programs take turns; quoted are our median and the best run of a peer, for on a busy machine threads that wait by
spinning can slow a peer ten times. Posterior means must agree within their Monte Carlo errors, or the benchmark stops.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import arviz as az
import jax
import numpy as np
import xarray as xr
from nuts_peers import NEEDS, PROGRAMS, Run

import bayes_gmm as bg
from bayes_gmm import kernel
from bayes_gmm.numpyro_model import potential
from bayes_gmm.relabel import relabel
from bayes_gmm.scaling import Scaling
from bayes_gmm.sites import as_arrays, disassemble, unconstrain
from bayes_gmm.tree import parameters

OURS, FROM_FIT, NUMPYRO, STAN, PYMC = PROGRAMS
SIZE = dict.fromkeys(PROGRAMS, (500, 500)) | {OURS: (150, 500), FROM_FIT: (150, 500)}
"""Transitions to warm up and draws of each chain."""

LARGEST_DIFFERENCE = 5.0
"""Between posterior means, in Monte Carlo standard errors; the largest of some 20 parameters is quoted."""

VERSIONS = ("bayes_gmm", "jax", "numpyro", "numpy", "arviz", "pystan", "pymc", "nutpie")

FIRST_FIT = """
import bayes_gmm as bg
bg.fit_nuts(bg.datasets.load("faithful"), 2, num_warmup=150, num_samples=500, progress=False)
"""

Row = dict[str, object]


def simulate(n_points: int, n_features: int, n_components: int, seed: int = 1) -> np.ndarray:
    """Components with means 3 sd from the origin in each coordinate and random shapes, in equal parts."""
    rng = np.random.default_rng(seed)
    means = 3 * rng.normal(size=(n_components, n_features))
    roots = np.eye(n_features) + 0.5 * rng.normal(size=(n_components, n_features, n_features))
    labels = rng.integers(n_components, size=n_points)
    noise = rng.normal(size=(n_points, n_features))
    return means[labels] + np.einsum("nij,nj->ni", roots[labels], noise)


def judged(run: Run, x: np.ndarray, fit: bg.EMFit) -> tuple[Row, xr.Dataset]:
    """Numbers of one run, and means and Monte Carlo errors of all parameters under the labels of the fit."""
    draws = run.draws.permute(relabel(run.draws, fit.mixture, x).permutations)
    columns = tuple(map(str, range(x.shape[1])))
    parts = [part.reshape(*part.shape[:2], -1) for part in parameters(draws, columns).values()]
    table = xr.Dataset({"parameter": (("chain", "draw", "entry"), np.concatenate(parts, -1))})
    ess = float(az.ess(table, method="bulk")["parameter"].min())
    rhat = float(az.rhat(table)["parameter"].max())
    row = {"seconds": run.seconds, "sampling_seconds": run.sampling, "ess": ess, "rhat": rhat}
    row |= {"whole": ess / run.seconds, "sampling": ess / run.sampling}
    row |= {"leapfrogs_per_draw": run.leapfrogs, "divergences": run.divergences}
    moments = {"mean": table["parameter"].mean(("chain", "draw")), "mcse": az.mcse(table)["parameter"]}
    return row, xr.Dataset(moments)


def compare(x: np.ndarray, n_components: int, turns: dict[str, int], size: dict[str, tuple[int, int]]) -> Row:
    """All named programs on one problem, each for so many seeds, in turn; ours run once more beforehand to compile."""
    fit = bg.fit_em(x, n_components)
    samplers, build = {}, {}
    for name in turns:
        begin = time.perf_counter()
        samplers[name] = PROGRAMS[name](x, fit)
        if name in (OURS, FROM_FIT):
            samplers[name](99, *size[name])
        build[name] = time.perf_counter() - begin
    rows: dict[str, list[Row]] = {name: [] for name in turns}
    moments: dict[str, list[xr.Dataset]] = {name: [] for name in turns}
    for seed in range(max(turns.values())):
        for name in [name for name in turns if seed < turns[name]]:
            row, found = judged(samplers[name](seed, *size[name]), x, fit)
            rows[name].append(row)
            moments[name].append(found)
            print(f"  {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
    return {
        "points, features, components": (*x.shape, n_components),
        "weights of the fit": fit.mixture.weights.round(3).tolist(),
        "programs": {name: medians(rows[name], build[name], size[name]) for name in turns},
        "differences of means in MCSE": {name: difference(moments[name], moments[OURS]) for name in turns},
    }


def medians(rows: list[Row], build: float, size: tuple[int, int]) -> Row:
    """Median of each number, with all repeats beside."""
    middle = {key: float(np.median([row[key] for row in rows])) for key in rows[0]}
    return middle | {"first_call_or_build_seconds": build, "warmup, draws": size, "repeats": rows}


def difference(theirs: list[xr.Dataset], mine: list[xr.Dataset]) -> float:
    """Largest difference between posterior means pooled over runs, in Monte Carlo standard errors."""
    means = [np.mean([run["mean"].values for run in runs], 0) for runs in (theirs, mine)]
    variances = [np.mean([run["mcse"].values ** 2 for run in runs], 0) / len(runs) for runs in (theirs, mine)]
    return float(np.max(np.abs(means[0] - means[1]) / np.sqrt(sum(variances))))


def installed(names: Iterable[str]) -> list[str]:
    """The programs that can be run here; says which cannot."""
    missing = [name for name in names if name in NEEDS and find_spec(NEEDS[name]) is None]
    for name in missing:
        print(f"  {name} is not installed and is left out")
    return [name for name in names if name not in missing]


def faithful(repeats: int) -> tuple[Row, list[list[object]]]:
    """Old Faithful, N = 272, D = 2, K = 2."""
    targets = {NUMPYRO: 40, STAN: 30, PYMC: 5}
    return against_peers(np.asarray(bg.datasets.load("faithful").values), 2, targets, repeats, repeats)


def thousand(repeats: int) -> tuple[Row, list[list[object]]]:
    """Simulated, N = 1000, D = 2, K = 3; the peers' runs take minutes and differ little, so they make two."""
    return against_peers(simulate(1000, 2, 3), 3, {NUMPYRO: 150, STAN: 200, PYMC: 70}, repeats, min(repeats, 2))


def ten_thousand(repeats: int) -> tuple[Row, list[list[object]]]:
    """Simulated, N = 10000, D = 2, K = 3; NumPyro makes one run."""
    return against_peers(simulate(10_000, 2, 3), 3, {NUMPYRO: 100}, repeats, 1)


def against_peers(
    x: np.ndarray, n_components: int, targets: dict[str, float], repeats: int, peer_repeats: int
) -> tuple[Row, list[list[object]]]:
    """One problem for us and for those peers for which there is a target."""
    peers = dict.fromkeys(installed(targets), peer_repeats)
    record = compare(x, n_components, {OURS: repeats, FROM_FIT: repeats} | peers, SIZE)
    return record, ess_lines(f"N={len(x)} D={x.shape[1]} K={n_components}", record, targets)


def ess_lines(label: str, row: Row, targets: dict[str, float]) -> list[list[object]]:
    """Our median against the best run of each peer: all that we do against NumPyro, else sampling against sampling."""
    worst = max(row["differences of means in MCSE"].values())
    if worst > LARGEST_DIFFERENCE:
        raise SystemExit(f"{label}: posterior means differ by {worst:.1f} Monte Carlo errors: {row}")
    programs, lines = row["programs"], []
    against_numpyro = [(OURS, "whole", "sampling"), (FROM_FIT, "whole", "sampling"), (OURS, "whole", "whole")]
    for name in [name for name in targets if name in programs]:
        for mine, ours, theirs in against_numpyro if name == NUMPYRO else [(OURS, "sampling", "sampling")]:
            speed, peer = programs[mine][ours], max(run[theirs] for run in programs[name]["repeats"])
            what = f"{label}: ESS/s, {mine} {ours} against {name} {theirs}"
            lines.append(
                [what, speed, peer, f"{speed / peer:.1f} x", f"{targets[name]} x", speed / peer >= targets[name]]
            )
    return lines


def wait(repeats: int) -> tuple[Row, list[list[object]]]:
    """Seconds of a second fit of the same shape, and of a process that makes its first fit, imports included."""
    fit = partial(bg.fit_nuts, bg.datasets.load("faithful"), 2, num_warmup=150, num_samples=500, progress=False)
    fit(seed=99)
    runs = {
        "second fit": [wall_and_cpu(lambda seed=seed: fit(seed=seed)) for seed in range(3 * repeats)],
        "first fit of a process": [
            wall_and_cpu(lambda: subprocess.run([sys.executable, "-c", FIRST_FIT], check=True)) for _ in range(repeats)
        ],
    }
    lines = []
    for (what, taken), limit in zip(runs.items(), (0.4, 9.0), strict=True):
        wall, processor = np.median(taken, axis=0)
        label = f"faithful K=2, {what}: seconds"
        lines.append([label, wall, "", f"{processor:.2f} s of processor time", f"{limit} s", wall < limit])
    return {what: [{"seconds": a, "processor_seconds": b} for a, b in taken] for what, taken in runs.items()}, lines


def wall_and_cpu(function) -> tuple[float, float]:
    """Seconds on the clock and of the processor, those of finished subprocesses included."""
    before = os.times()
    wall = seconds(function)
    return wall, sum(os.times()[:4]) - sum(before[:4])


def large(repeats: int) -> tuple[Row, list[list[object]]]:
    """More features or components than the other problems; beyond galaxies NumPyro takes more than ten minutes."""
    problems = {
        "galaxies": (np.asarray(bg.datasets.load("galaxies").values), 6, {OURS: repeats, NUMPYRO: 1}),
        "D=8": (simulate(2000, 8, 4), 4, {OURS: repeats}),
        "D=16": (simulate(2000, 16, 4), 4, {OURS: repeats}),
    }
    record, table = {}, []
    for label, (x, n_components, turns) in problems.items():
        print(label, flush=True)
        record[label] = compare(x, n_components, turns, SIZE)
        for name, row in record[label]["programs"].items():
            kind = "whole" if name == OURS else "sampling"
            what = f"{label} N={len(x)} K={n_components}: {name}, ESS/s {kind}"
            detail = f"{row['leapfrogs_per_draw']:.1f} leapfrogs/draw, {row['divergences']:.0f} divergences"
            numbers = [row[kind], ""] if name == OURS else ["", row[kind]]
            table.append([what, *numbers, detail, "", ""])
    return record, table


def gradient(repeats: int) -> tuple[Row, list[list[object]]]:
    """Microseconds of the potential's value and gradient and of the kernel's alone, on ten thousand points."""
    x, n_components = simulate(10_000, 2, 3), 3
    mixture = bg.fit_em(x, n_components).mixture
    prior, ones = bg.Prior().for_data(x, n_components), np.ones(len(x))
    with jax.enable_x64(True):
        scaling = Scaling.whitening(x, ones)
        data, sites = kernel.blocks(x, ones, scaling), as_arrays(prior.sites(n_components, x.shape[1]))
        at = unconstrain(sites, disassemble(mixture, sites))
        eta = kernel.natural(scaling.to_unit(mixture))
        whole = jax.jit(partial(many_gradients, potential))
        alone = jax.jit(partial(many_gradients, kernel.log_likelihood))
        turns = [
            (1e4 * seconds(whole, at, sites, data, scaling), 1e4 * seconds(alone, eta, data))
            for _ in range(3 * repeats + 1)
        ][1:]
    potential_time, kernel_time = np.min(turns, axis=0)  # others on the machine only add
    ratio = potential_time / kernel_time
    line = ["N=10000 D=2 K=3: microseconds of the potential's gradient against the kernel's", potential_time]
    return {"microseconds": turns}, [[*line, kernel_time, f"{ratio:.2f} x", "1.5 x", ratio <= 1.5]]


def many_gradients(function, at, *arguments) -> object:
    """A hundred values and gradients, each at a point that depends on the one before, so that none is left out."""

    def again(_, point):
        value, slope = jax.value_and_grad(function)(point, *arguments)
        return point + 1e-300 * (value + slope)

    return jax.lax.fori_loop(0, 100, again, at)


def million(_: int) -> tuple[Row, list[list[object]]]:
    """One posterior of a million points, in a process that must compile first."""
    x = simulate(1_000_000, 2, 3)
    begin = time.perf_counter()
    posterior = bg.fit_nuts(x, 3, num_warmup=150, num_samples=250, num_chains=4, progress=False)
    taken = time.perf_counter() - begin
    record = {"seconds": taken, "verdict": str(posterior.verdict), "min_ess": posterior.verdict.min_ess}
    return record, [["N=1000000 D=2 K=3, 4 x (150 + 250): seconds", taken, "", "", "", ""]]


def seconds(function, *arguments) -> float:
    """Wall time of one call, its result ready."""
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - begin


PARTS = {part.__name__: part for part in (gradient, wait, faithful, thousand, ten_thousand, large, million)}


def about() -> Row:
    """When and where; the load tells how many others shared the machine."""
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    return {"date": datetime.now().isoformat(timespec="minutes"), **machine, "versions": versions}


def markdown(lines: list[list[object]]) -> str:
    """Table of measures against targets."""
    head = ["measure", "bayes_gmm", "peer", "ratio", "target", "reached"]
    words = {True: "yes", False: "no"}
    cells = [
        [f"{cell:.4g}" if isinstance(cell, float) else str(words.get(cell, cell)) for cell in line] for line in lines
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])


def main() -> None:
    """Measure the parts, print their table and, when asked, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all but million when none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="PATH")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    warnings.simplefilter("ignore")
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    table = []
    for name in options.parts or [name for name in PARTS if name != "million"]:
        begin, situation = time.perf_counter(), about()
        record, lines = PARTS[name](options.repeats)
        kept[name] = situation | {"took_seconds": time.perf_counter() - begin, "table": lines, **record}
        table += lines
        if options.json:
            options.json.write_text(json.dumps(kept, indent=1, default=lambda number: number.item()) + "\n")
    print("\n" + markdown(table))


if __name__ == "__main__":
    main()
