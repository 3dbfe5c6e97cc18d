"""Effective draws per second of `fit_nuts` against textbook NumPyro, PyStan, and PyMC with nutpie.

All programs see the same data and prior in one process, begin at the same EM fit and run 4 chains: ours 150 + 500
transitions, peers 500 + 500. ESS is the smallest bulk ESS of any weight, mean, scale or correlation after relabelling,
which is outside the clock for peers and inside for `fit_nuts`. "Whole" counts all that a call does: for `fit_nuts`
EM, modes, warm-up, draws, relabelling and verdict; for NumPyro's `MCMC` its compiling, which it does at every run.
"Sampling" is warm-up and draws. Peers' compiling beforehand counts in neither (`bench_wait.py` has it).

Programs take turns. Peers make as many as stay within minutes, one at least. Posterior means must agree within their
Monte Carlo errors, or the peer is left out and that is said.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import arviz as az
import numpy as np
import xarray as xr
from measuring import OURS, Record, Skipped, attempt, installed, main, measure, say, take_turns
from nuts_peers import N_CHAINS, PEERS, Problem, Run, Sampler, prior_of_variances

import bayes_gmm as bg
from bayes_gmm.posterior import sampling_run
from bayes_gmm.posterior.arviz_tree import parameters
from bayes_gmm.posterior.relabelling import relabel

FROM_FIT = "bayes_gmm from fit"
NUMPYRO, STAN, PYMC = PEERS

LARGEST_DIFFERENCE = 5.0
"""Between posterior means, in Monte Carlo standard errors; the largest of some 20 parameters is compared."""

WHOLE_TARGETS = {272: {NUMPYRO: 40}, 1000: {NUMPYRO: 150}, 10_000: {NUMPYRO: 100}}
SAMPLING_TARGETS = {272: {STAN: 30, PYMC: 5}, 1000: {STAN: 200, PYMC: 70}, 10_000: {}}
"""By the number of points, which tells the problems apart."""


def simulate(n_points: int, n_features: int, n_components: int, seed: int = 1) -> np.ndarray:
    """Components with means 3 sd from the origin in each coordinate and random shapes, in equal parts."""
    rng = np.random.default_rng(seed)
    means = 3 * rng.normal(size=(n_components, n_features))
    roots = np.eye(n_features) + 0.5 * rng.normal(size=(n_components, n_features, n_features))
    labels = rng.integers(n_components, size=n_points)
    noise = rng.normal(size=(n_points, n_features))
    return means[labels] + np.einsum("nij,nj->ni", roots[labels], noise)


def ours(
    x: np.ndarray, n_components: int, start: bg.EMFit | None, seed: int, size: tuple[int, int], prior: bg.Prior
) -> Run:
    """`fit_nuts`, with a clock around the one call that samples."""
    sample, sampling = sampling_run.sample, []

    def timed(*args: object, **kwargs: object) -> object:
        begin = time.perf_counter()
        chains = sample(*args, **kwargs)
        sampling.append(time.perf_counter() - begin)
        return chains

    sampling_run.sample = timed
    try:
        begin = time.perf_counter()
        lengths = {"num_warmup": size[0], "num_samples": size[1], "num_chains": N_CHAINS}
        posterior = bg.fit_nuts(x, n_components, **lengths, prior=prior, seed=seed, start=start, progress=False)
        seconds = time.perf_counter() - begin
    finally:
        sampling_run.sample = sample
    if not sampling:
        raise RuntimeError("fit_nuts does not sample by `sample` any more: put the clock where it does")
    stats, draws = posterior.tree["sample_stats"], posterior.draws
    sites = {"weights": draws.weights, "means": draws.means, "variances": draws.scales**2}
    sites["factors"] = draws.scale_tril / draws.scales[..., None]
    return Run(sites, seconds, sum(sampling), float(stats["n_steps"].mean()), int(stats["diverging"].sum()))


def judged(run: Run, x: np.ndarray, fit: bg.EMFit) -> tuple[Record, xr.Dataset]:
    """Numbers of one run, and means and Monte Carlo errors of all parameters under the labels of the fit."""
    weights, means, variances, factors = run.sites.values()
    scale_tril = np.sqrt(variances)[..., None] * factors
    draws = bg.Mixture(log_weights=np.log(weights), means=means, scale_tril=scale_tril)
    draws = draws.permute(relabel(draws, fit.mixture, x).permutations)
    columns = tuple(map(str, range(x.shape[1])))
    parts = [part.reshape(*part.shape[:2], -1) for part in parameters(draws, columns).values()]
    table = xr.Dataset({"parameter": (("chain", "draw", "entry"), np.concatenate(parts, -1))})
    ess, rhat = (float(found["parameter"]) for found in (az.ess(table, method="bulk").min(), az.rhat(table).max()))
    row = {"seconds": run.seconds, "sampling_seconds": run.sampling, "ess": ess, "rhat": rhat}
    row |= {"whole": ess / run.seconds, "sampling": ess / run.sampling}
    row |= {"leapfrogs_per_draw": float(run.leapfrogs), "divergences": int(run.divergences)}
    say("    " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    return row, xr.Dataset({"mean": table["parameter"].mean(("chain", "draw")), "mcse": az.mcse(table)["parameter"]})


def difference(theirs: list[xr.Dataset], mine: list[xr.Dataset]) -> float:
    """Largest difference between posterior means pooled over runs, in Monte Carlo standard errors."""
    means = [np.mean([run["mean"].values for run in runs], 0) for runs in (theirs, mine)]
    variances = [np.mean([run["mcse"].values ** 2 for run in runs], 0) / len(runs) for runs in (theirs, mine)]
    return float(np.max(np.abs(means[0] - means[1]) / np.sqrt(sum(variances))))


def prepared(name: str, problem: Problem) -> Sampler:
    """A peer that has compiled what it keeps; NumPyro keeps nothing."""
    sampler = PEERS[name](problem)
    if name != NUMPYRO:
        sampler(98, 10, 10)
    return sampler


def runs(
    x: np.ndarray, n_components: int, repeats: dict[str, int], quick: bool, case: str, skipped: Skipped
) -> dict[str, list[tuple[Record, xr.Dataset]]]:
    """All programs on one problem, each for so many seeds, in turn; ours run once more beforehand to compile."""
    fit = bg.fit_em(x, n_components)
    prior = bg.Prior(variances=prior_of_variances(x))
    problem = Problem.of(x, fit.mixture, prior.for_data(x, n_components))
    our_size, their_size = ((50, 100), (100, 100)) if quick else ((150, 500), (500, 500))
    samplers: dict[str, Callable[[int], Run]] = {}
    for name in repeats:
        if name.startswith(OURS):
            start = fit if name == FROM_FIT else None
            samplers[name] = partial(ours, x, n_components, start, size=our_size, prior=prior)
            samplers[name](99)
        elif sampler := attempt(name, case, lambda name=name: prepared(name, problem), skipped):
            samplers[name] = lambda seed, sampler=sampler: sampler(seed, *their_size)
    return take_turns(
        {name: lambda seed, run=run: judged(run(seed), x, fit) for name, run in samplers.items()},
        {name: repeats[name] for name in samplers},
        case,
        skipped,
    )


def compared(
    x: np.ndarray,
    n_components: int,
    repeats: dict[str, int],
    quick: bool,
    skipped: Skipped,
    name: str = "",
    agree: bool = True,
) -> Iterator[Record]:
    """Whole call against whole call, sampling against sampling, and our whole call against sampling alone.

    Where chains do not mix, means need not `agree`, and nobody is left out for it.
    """
    case = f"{name + ', ' if name else ''}N = {len(x)}, D = {x.shape[1]}, K = {n_components}"
    say(f"  {case}")
    peers = installed([name for name in repeats if name in PEERS], skipped)
    repeats = {name: times for name, times in repeats.items() if name.startswith(OURS) or name in peers}
    found = runs(x, n_components, repeats, quick, case, skipped)
    differences = {
        name: difference([moments for _, moments in turns], [moments for _, moments in found[OURS]])
        for name, turns in found.items()
    }
    for name in [name for name, value in differences.items() if agree and name in PEERS and value > LARGEST_DIFFERENCE]:
        skipped[f"{name}, {case}"] = f"posterior means differ from ours by {differences[name]:.1f} Monte Carlo errors"
        del found[name]
    rows = {name: [row for row, _ in turns] for name, turns in found.items()}
    turns = {kind: {name: [row[kind] for row in own] for name, own in rows.items()} for kind in ("whole", "sampling")}
    more = {"runs": rows, "largest_difference_of_means_in_mcse": differences}
    whole = {name: values for name, values in turns["whole"].items() if name not in (STAN, PYMC)}
    sampling = {name: values for name, values in turns["sampling"].items() if name != FROM_FIT}
    size, unit = len(x), "ESS/s"
    targets = WHOLE_TARGETS.get(size, {}), SAMPLING_TARGETS.get(size, {})
    yield measure("whole fit", case, unit, whole, better="more", targets=targets[0], **more)
    yield measure("sampling", case, unit, sampling, better="more", targets=targets[1])
    if NUMPYRO in sampling:
        mixed = {OURS: whole[OURS], NUMPYRO: sampling[NUMPYRO]}
        yield measure("whole fit against sampling alone", case, unit, mixed, better="more")


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """Old Faithful; 1000 points; 10 000 points, where only NumPyro has the patience."""
    faithful, both = np.asarray(bg.datasets.load("faithful").values), {OURS: 3, FROM_FIT: 3}
    if quick:
        yield from compared(faithful, 2, {OURS: 1, NUMPYRO: 1, STAN: 1, PYMC: 1}, quick, skipped, "faithful")
        return
    yield from compared(faithful, 2, both | {NUMPYRO: 3, STAN: 3, PYMC: 3}, quick, skipped, "faithful")
    yield from compared(simulate(1000, 2, 3), 3, both | {NUMPYRO: 2, STAN: 2, PYMC: 2}, quick, skipped)
    yield from compared(simulate(10_000, 2, 3), 3, both | {NUMPYRO: 1}, quick, skipped)


if __name__ == "__main__":
    main("nuts", part)
