"""Posteriors of more features, components or points than `bench_nuts.py` has: effective draws per second, and seconds.

The galaxies with six components have several modes between which chains wander, so posterior means are compared there,
but nobody is left out for them; NumPyro runs once. Beyond the galaxies it takes more than ten minutes and is left out.
The million is one fit in a process that has compiled other shapes.
"""

from collections.abc import Iterator

import numpy as np
from bench_nuts import NUMPYRO, compared, simulate
from measuring import OURS, Record, Skipped, main, measure, seconds

import bayes_gmm as bg


def million(n_points: int, num_samples: int) -> Record:
    """Seconds of 4 chains, compiling included."""
    x, found = simulate(n_points, 2, 3), []
    size = {"num_warmup": 150, "num_samples": num_samples, "num_chains": 4}
    taken = seconds(lambda: found.append(bg.fit_nuts(x, 3, **size, progress=False)))
    verdict = found[0].verdict
    case = f"N = {n_points}, D = 2, K = 3, 4 x {num_samples} draws"
    return measure(
        "posterior of many points", case, "s", {OURS: [taken]}, verdict=str(verdict), min_ess=verdict.min_ess
    )


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """Galaxies with K = 6; D = 8 and D = 16 with K = 4; a million points."""
    galaxies = np.asarray(bg.datasets.load("galaxies").values)
    if quick:
        yield from compared(galaxies, 3, {OURS: 1, NUMPYRO: 1}, quick, skipped, "galaxies", agree=False)
        yield million(5000, 50)
        return
    yield from compared(galaxies, 6, {OURS: 3, NUMPYRO: 1}, quick, skipped, "galaxies", agree=False)
    yield from compared(simulate(2000, 8, 4), 4, {OURS: 3}, quick, skipped)
    yield from compared(simulate(2000, 16, 4), 4, {OURS: 2}, quick, skipped)
    yield million(1_000_000, 250)


if __name__ == "__main__":
    main("large", part)
