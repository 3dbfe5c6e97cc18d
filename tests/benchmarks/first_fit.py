"""What a process does that makes its first fit and ends: `python first_fit.py PROGRAM PROBLEM [FITS]`.

PROBLEM is a file of `nuts_peers.Problem`. With BENCHMARK_CACHE set, our compile cache is there; the caches
of the others are set by the variables of `bench_wait.py`. The seconds of each of FITS fits are printed.
"""

import os
import sys
import time
import warnings

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
from nuts_peers import N_CHAINS, PEERS, Problem  # noqa: E402


def fit_em(problem: Problem, _: int) -> None:
    """Our maximum-likelihood fit."""
    import bayes_gmm as bg

    cached(bg)
    bg.fit_em(problem.x, len(problem.weights))


def fit_nuts(problem: Problem, seed: int) -> None:
    """Our posterior."""
    import bayes_gmm as bg

    cached(bg)
    size = {"num_warmup": 150, "num_samples": 500, "num_chains": N_CHAINS}
    bg.fit_nuts(problem.x, len(problem.weights), **size, seed=seed, progress=False)


def fit_hmc(problem: Problem, seed: int) -> None:
    """Our posterior by trajectories of fixed length."""
    import bayes_gmm as bg

    cached(bg)
    bg.fit_hmc(problem.x, len(problem.weights), seed=seed, progress=False)


def cached(bg: object) -> None:
    """The compile cache in the parent's folder, or none."""
    bg.use_compile_cache(os.environ.get("BENCHMARK_CACHE", False))


def scikit_learn(problem: Problem, seed: int) -> None:
    """scikit-learn's fit as it is by default, from one start; ours is from many."""
    from sklearn.mixture import GaussianMixture

    GaussianMixture(len(problem.weights), random_state=seed).fit(problem.x)


def peer(name: str) -> object:
    """The fit of a peer, prepared at its first call."""
    prepared = []

    def fit(problem: Problem, seed: int) -> None:
        if not prepared:
            prepared.append(PEERS[name](problem))
        found = prepared[0](seed, 500, 500)
        assert np.isfinite(found.sites["means"]).all()

    return fit


OWN = {"fit_em": fit_em, "fit_nuts": fit_nuts, "fit_hmc": fit_hmc}
FITS = OWN | {"scikit-learn": scikit_learn} | {name: peer(name) for name in PEERS}

if __name__ == "__main__":
    problem = Problem.load(sys.argv[2])
    for seed in range(int(sys.argv[3]) if len(sys.argv) > 3 else 1):
        begin = time.perf_counter()
        FITS[sys.argv[1]](problem, seed)
        print(time.perf_counter() - begin, flush=True)
