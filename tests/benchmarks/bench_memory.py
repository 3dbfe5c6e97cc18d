"""Peak memory of a whole process that makes three EM iterations, ours and scikit-learn's, D = 4, K = 8, in gigabytes.

The high-water mark of the process itself (VmHWM), Python, libraries and data included, as Linux tells it.
"""

from collections.abc import Iterator

import em_programs
from measuring import OURS, Record, Skipped, fresh, installed, main, measure, take_turns

LIMIT = {10_000_000: 2.0}
POINTS, QUICK = (1_000_000, 10_000_000), (10_000,)
FEATURES, COMPONENTS = 4, 8

CODE = """
import numpy as np
x = np.random.default_rng(0).normal(size=({points}, {features}))
x += 4 * np.random.default_rng(1).integers(0, 2, size=({points}, 1))
weights, means = np.full({components}, 1 / {components}), x[:{components}]
covariances = np.tile(np.eye({features}), ({components}, 1, 1))
{fit}
status = open("/proc/self/status").read()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""
OUR_FIT = """
import bayes_gmm as bg
start = bg.Mixture.from_moments(weights, means, covariances)
bg.fit_em(x, {components}, start=start, max_steps=3)
"""
THEIR_FIT = """
from sklearn.mixture import GaussianMixture
start = dict(weights_init=weights, means_init=means, precisions_init=covariances)  # the identity is its own inverse
GaussianMixture({components}, **start, init_params="random_from_data", max_iter=3, random_state=0).fit(x)
"""
FITS = {OURS: OUR_FIT, "scikit-learn": THEIR_FIT}


def gigabytes(name: str, n_points: int) -> float:
    """Peak of one process."""
    numbers = {"points": n_points, "features": FEATURES, "components": COMPONENTS}
    code = CODE.format(fit=FITS[name].format(**numbers), **numbers)
    return int(fresh(["-c", code])[2]) * 1024 / 1e9


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """Ours and scikit-learn's at each number of points."""
    names = [OURS, *installed(["scikit-learn"], skipped)]
    for n_points in QUICK if quick else POINTS:
        case = em_programs.label((n_points, FEATURES, COMPONENTS))
        programs = {name: lambda _, name=name, n_points=n_points: gigabytes(name, n_points) for name in names}
        turns = take_turns(programs, 1 if quick else 2, case, skipped)
        yield measure("peak memory", case, "GB", turns, limit=LIMIT.get(n_points))


if __name__ == "__main__":
    main("memory", part)
