"""What a gradient costs: the potential's against the kernel's; and EM, L-BFGS and Adam until they are near the optimum.

The potential is what NUTS differentiates: kernel, prior and transformations. A turn is a hundred gradients, each at a
point that depends on the one before.

The optimum is the highest log-likelihood that EM or L-BFGS reaches from the same start; "near" is within 1, 1e-2 and
1e-6 nats of it. A pass is one evaluation of the log-likelihood of all points with its gradient: an E-step, a trial of
the line search, or N points in minibatches of Adam. Seconds are of runs with as many steps as were needed, compiled
before, with everything that the call does around them. Adam has its step sizes chosen by hand, which is to its
advantage; its schedule belongs to its number of steps, so its seconds are those of the whole run, and they include the
evaluations that draw its path. Who does not come that near has no turns.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
from measuring import OURS, Record, Skipped, main, measure, seconds

import bayes_gmm as bg
from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.sites import disassemble, unconstrain
from bayes_gmm.bayes.target import Target
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.complete_rows import prepare
from bayes_gmm.mixture.scaling import Scaling

LIMIT = 1.5
"""Of the potential's gradient, in gradients of the kernel."""

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


def near_optimum(problem: str, x: np.ndarray, start: bg.Mixture, repeats: int) -> Iterator[Record]:
    """One measure for each gap."""
    fits = {name: run(x, start) for name, run in RUNS.items()}
    optimum = max(float(fits[name].path[-1]) for name in ("EM", "L-BFGS"))
    passes = {name: getattr(fit, "passes", np.arange(1.0, len(fit.path) + 1)) for name, fit in fits.items()}
    ends = {name: optimum - float(fit.path[-1]) for name, fit in fits.items()}
    for gap in GAPS:
        entries = {name: first_near(fit, optimum, gap) for name, fit in fits.items()}
        turns = {
            name: [seconds(partial(RUNS[name], x, start, max(entry, 1))) for _ in range(repeats + 1)][1:]
            for name, entry in entries.items()
            if entry is not None
        }
        if ours := next((name for name in ("EM", "L-BFGS") if name in turns), None):
            yield measure(
                f"until {gap:g} nats from the optimum",
                problem,
                "s",
                turns,
                ours=ours,
                passes={name: float(passes[name][entries[name]]) for name in turns},
                nats_short_at_the_end=ends,
                nats=gap,
            )


def price_of_the_potential(n_points: int, repeats: int) -> Record:
    """Microseconds of the potential's value and gradient and of the kernel's alone, D = 2, K = 3."""
    x, n_components = overlapping()[:n_points], 3
    mixture = bg.fit_em(x, n_components).mixture
    prior, ones = bg.Prior().for_data(x, n_components), np.ones(len(x))
    with jax.enable_x64(True):
        scaling = Scaling.whitening(x, ones)
        data, sites = prepare(x, ones, scaling), as_arrays(prior.sites(n_components, x.shape[1]))
        at = unconstrain(sites, disassemble(mixture, sites))
        eta = linear_form.natural(scaling.to_unit(mixture))
        whole = partial(jax.jit(partial(many_gradients, potential)), at, Target(sites, data, scaling))
        alone = partial(jax.jit(partial(many_gradients, linear_form.log_likelihood)), eta, data)
        pairs = [
            [1e4 * seconds(lambda call=call: jax.block_until_ready(call())) for call in (whole, alone)]
            for _ in range(repeats + 1)
        ][1:]
    turns = {OURS: [mine / kernels for mine, kernels in pairs]}
    case = f"N = {n_points}, D = 2, K = 3"
    return measure("potential's gradient", case, "kernel gradients", turns, limit=LIMIT, microseconds=pairs)


def potential(at: Any, target: Target) -> Any:
    return target.potential(at)


def many_gradients(function: Callable[..., Any], at: Any, *arguments: Any) -> Any:
    """A hundred values and gradients, each at a point that depends on the one before, so that none is left out."""

    def again(_: int, point: Any) -> Any:
        value, slope = jax.value_and_grad(function)(point, *arguments)
        return point + 1e-300 * (value + slope)

    return jax.lax.fori_loop(0, 100, again, at)


def part(quick: bool, _: Skipped) -> Iterator[Record]:
    """The price of the potential, then each problem."""
    yield price_of_the_potential(1000 if quick else 10_000, 3 if quick else 15)
    for problem, (x, start) in list(problems().items())[: 1 if quick else None]:
        yield from near_optimum(problem, x, start, 1 if quick else 5)


if __name__ == "__main__":
    main("gradient", part)
