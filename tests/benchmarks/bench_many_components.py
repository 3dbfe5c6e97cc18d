"""Many components: the maximum that EM by default finds, and its time, beside the best that scikit-learn finds.

scikit-learn's is the highest of `n_init=10` and three single starts, at its default tolerance but with as many steps as
convergence takes; its time is that of all of them. Ours is one call, first with its compiling, then compiled, with
another seed. Means are normal, with a sd of `apart` within-cluster sds; factors of full covariances are .7 I + .3
normal, sds of diagonal ones are between .5 and 2.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from measuring import OURS, Record, Skipped, installed, main, measure, seconds

import bayes_gmm as bg


class Problem(NamedTuple):
    """Shape and structure of a table, and how far apart its clusters are."""

    n_points: int
    n_features: int
    n_components: int
    structure: str
    apart: float

    def rows(self) -> np.ndarray:
        """Rows (N, D)."""
        N, D, K, structure, apart = self
        rng = np.random.default_rng([22, N, D, K])
        means = apart * rng.normal(size=(K, D))
        if structure == "full":
            factors = 0.7 * np.eye(D) + 0.3 * rng.normal(size=(K, D, D))
        else:
            factors = np.eye(D) * rng.uniform(0.5, 2.0, (K, 1, D))
        labels = rng.choice(K, size=N, p=rng.dirichlet(np.full(K, 3.0)))
        return means[labels] + (factors[labels] @ rng.normal(size=(N, D, 1)))[..., 0]

    def __str__(self) -> str:
        return f"{self.n_points}, {self.n_features}, {self.n_components} {self.structure}"


PROBLEMS = [
    *(Problem(4000, 2, 8, "full", 4.0), Problem(5000, 5, 16, "full", 2.0), Problem(3000, 10, 30, "full", 2.0)),
    *(Problem(10_000, 10, 30, "full", 2.0), Problem(20_000, 4, 50, "full", 4.0), Problem(20_000, 2, 64, "full", 12.0)),
    *(Problem(10_000, 32, 12, "full", 1.0), Problem(6000, 13, 32, "diag", 3.0), Problem(8000, 8, 64, "diag", 2.5)),
    *(Problem(20_000, 3, 100, "diag", 8.0), Problem(20_000, 32, 16, "diag", 1.0), Problem(30_000, 6, 128, "diag", 4.0)),
]
SINGLE_STARTS = range(3)
SAME_MAXIMUM = 0.1
"""Nats within which two log-likelihoods are the same."""


def scikit_learn(x: np.ndarray, problem: Problem) -> float:
    """Highest log-likelihood of all its starts."""
    from sklearn.mixture import GaussianMixture

    options = {"covariance_type": problem.structure, "max_iter": 10_000}
    peers = [GaussianMixture(problem.n_components, random_state=seed, **options) for seed in SINGLE_STARTS]
    peers.append(GaussianMixture(problem.n_components, n_init=10, random_state=0, **options))
    return max(float(peer.fit(x).score(x)) for peer in peers) * len(x)


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """Seconds, and nats above the peer, for each problem."""
    compared = bool(installed(["scikit-learn"], skipped))
    for problem in [Problem(400, 2, 4, "full", 6.0)] if quick else PROBLEMS:
        x, reached = problem.rows(), {}

        def ours(seed: int, problem: Problem = problem, x: np.ndarray = x, reached: dict = reached) -> None:
            fit = bg.fit_em(x, problem.n_components, covariance_type=problem.structure, seed=seed, progress=False)
            reached[f"{OURS}, seed {seed}"] = fit.log_likelihood

        def theirs(problem: Problem = problem, x: np.ndarray = x, reached: dict = reached) -> None:
            reached["scikit-learn"] = scikit_learn(x, problem)

        turns = {OURS: [seconds(lambda: ours(0))], f"{OURS}, compiled": [seconds(lambda: ours(1))]}
        if compared:
            turns["scikit-learn"] = [seconds(theirs)]
        targets = {"scikit-learn": 1.0} if compared else {}
        yield measure("many components", str(problem), "s", turns, targets=targets, log_likelihoods=reached)
        if compared:
            above = [reached[f"{OURS}, seed 0"] - reached["scikit-learn"]]
            yield measure(
                "above the best of scikit-learn",
                str(problem),
                "nats",
                {OURS: above},
                better="more",
                limit=-SAME_MAXIMUM,
            )


if __name__ == "__main__":
    main("many_components", part)
