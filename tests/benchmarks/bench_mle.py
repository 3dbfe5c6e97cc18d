"""What a user waits for in maximum likelihood: restarts, slow convergence, resampling, selection, compilation.

Wall times are warm (compiled) unless they say first call.
"""

from collections.abc import Iterator

import jax
import numpy as np
from measuring import OURS, Record, Skipped, installed, main, measure, seconds

import bayes_gmm as bg
from bayes_gmm.mixture.covariance_structures import STRUCTURES

MCLUST = {"program": "mclust 6.0.0", "seconds": 0.47, "note": "one start each, on another machine of this kind"}
"""Taken once where R was at hand; it is quoted, and no ratio is made of it."""

SAME_MAXIMUM = 0.1
"""Nats within which two log-likelihoods are the same."""


def clusters(n_points: int, n_features: int, n_components: int, apart: float, seed: int) -> np.ndarray:
    """Gaussian clusters with random means, `apart` within-cluster sds from one another on average."""
    rng = np.random.default_rng(seed)
    means = apart * rng.normal(size=(n_components, n_features))
    return means[rng.integers(n_components, size=n_points)] + rng.normal(size=(n_points, n_features))


def restarts(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """Twenty starts to the maximum, against scikit-learn with n_init=20.

    At its own tolerance scikit-learn stops far below the maximum; the fair peer has the tolerance at which it ends
    within 0.1 nats of it, and is run once.
    """
    x = clusters(1000, 2, 3, 5.0, 0) if quick else clusters(50_000, 8, 6, 1.0, 0)
    K = 3 if quick else 6
    case, reached = f"N = {len(x)}, D = {x.shape[1]}, K = {K}", {}

    def ours() -> None:
        reached[OURS] = bg.fit_em(x, K, n_starts=20).log_likelihood

    ours()
    turns = {OURS: [seconds(ours) for _ in range(1 if quick else 3)]}
    names, targets = {"scikit-learn": 1e-7, "scikit-learn, its own tolerance": 1e-3}, {"scikit-learn": 20}
    for name, tol in names.items() if installed(["scikit-learn"], skipped) else ():
        taken, reached[name] = scikit_learn(x, K, tol)
        below = reached[OURS] - reached[name]
        if name == "scikit-learn" and below < -SAME_MAXIMUM:
            raise SystemExit(f"scikit-learn found a higher maximum: {reached}")
        if name == "scikit-learn" and below > SAME_MAXIMUM:
            skipped[f"{name}, {case}"] = f"ended {below:.1f} nats below the maximum"
        else:
            turns[name] = [taken]
    yield measure("20 starts to the maximum", case, "s", turns, targets=targets, log_likelihoods=reached)


def scikit_learn(x: np.ndarray, n_components: int, tol: float) -> tuple[float, float]:
    """Seconds of twenty starts, and the log-likelihood."""
    from sklearn.mixture import GaussianMixture

    peer = GaussianMixture(n_components, n_init=20, reg_covar=0.0, random_state=0, tol=tol, max_iter=10_000)
    return seconds(lambda: peer.fit(x)), float(peer.score(x)) * len(x)


def acceleration(quick: bool, _: Skipped) -> Iterator[Record]:
    """Steps to convergence on strongly overlapping components, with and without long steps."""
    for seed, (D, K) in enumerate([(1, 2)] if quick else [(1, 2), (2, 3), (2, 3), (5, 4)]):
        x = clusters(300 if quick else 3000, D, K, apart=0.9, seed=seed)
        turns = {
            name: [
                bg.fit_em(x, K, n_starts=1, seed=start, max_steps=20_000, accelerate=accelerate).n_steps
                for start in range(1 if quick else 5)
            ]
            for name, accelerate in ((OURS, True), ("plain EM", False))
        }
        case = f"D = {D}, K = {K}, data {seed}"
        yield measure("steps to convergence", case, "steps", turns, targets={"plain EM": 5})


def resampling(quick: bool, _: Skipped) -> Iterator[Record]:
    """A thousand bootstrap replicates of Old Faithful, K = 2."""
    fit = bg.fit_em(bg.datasets.load("faithful"), 2)
    for kind in ("rows", "weights"):
        size = {"n_replicates": 50} if quick else {}
        bg.bootstrap(fit, kind=kind, **size)
        taken = [seconds(lambda kind=kind, size=size: bg.bootstrap(fit, kind=kind, **size)) for _ in range(3)]
        yield measure("1000 bootstrap replicates", f"faithful, K = 2, {kind}", "s", {OURS: taken}, limit=1.0)


def selection(quick: bool, _: Skipped) -> Iterator[Record]:
    """All structures and K = 1..9 on iris."""
    x, structures = bg.datasets.load("iris"), STRUCTURES

    def select() -> None:
        bg.select_em(
            x,
            range(1, 3 if quick else 10),
            covariance_type=("full", "EII") if quick else structures,
            progress=False,
        )

    for case, limit, times in (("first call", 8.0, 1), ("second call", 1.0, 1 if quick else 3)):
        taken = [seconds(select) for _ in range(times)]
        yield measure("14 structures x K = 1..9 on iris", case, "s", {OURS: taken}, limit=limit, elsewhere=MCLUST)


def compilations(quick: bool, _: Skipped) -> Iterator[Record]:
    """Programs compiled by fits of 30 tables of different lengths, K = 3, D = 2."""
    events: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: events.append(name))
    rng, lengths = np.random.default_rng(0), np.geomspace(5000, 200_000, 3 if quick else 30).astype(int)
    for length in lengths:
        x = rng.normal(size=(length, 2)) + 5 * rng.integers(0, 3, size=(length, 1))
        start = bg.Mixture.from_moments(np.full(3, 1 / 3), x[:3], np.tile(np.eye(2), (3, 1, 1)))
        bg.fit_em(x, 3, start=start, max_steps=2)
    programs = sum(name.endswith("backend_compile_duration") for name in events)
    yield measure(
        "programs compiled", f"{len(lengths)} tables of 5000 to 200 000 points", "programs", {OURS: [programs]}
    )


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """All of them; compilations and selection come first, while nothing is compiled."""
    for measured in (compilations, selection, resampling, acceleration, restarts):
        yield from measured(quick, skipped)


if __name__ == "__main__":
    main("mle", part)
