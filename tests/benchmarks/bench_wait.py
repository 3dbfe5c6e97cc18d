"""What a user waits for a fit of Old Faithful, K = 2: the first of a process, the first with caches filled, the second.

A first fit is the wall time of a whole process, from the start of Python to its end: imports, compilation and all. With
caches filled, programs compiled by an earlier process are on disk: ours as they are kept by default, NumPyro's
by JAX's own cache, PyStan's and PyMC's by what they keep without being asked. Without, every cache is empty. The second
fit has the same shape and another seed, in the same process; NumPyro's MCMC compiles again there. A process that is
about to fill a cache is not timed for "filled". Processor seconds are beside the wall seconds.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import HERE, OURS, Record, Skipped, fresh, installed, main, measure, take_turns
from nuts_peers import PEERS, Problem, prior_of_variances

import bayes_gmm as bg

LIMITS = {
    **{("fit_em", "first"): 1.4, ("fit_em", "second"): 0.005},
    **{("fit_nuts", "first"): 4.0, ("fit_nuts", "cached"): 2.2, ("fit_nuts", "second"): 0.25},
    **{("fit_hmc", "first"): 3.5},
}
"""Seconds that were asked for."""

COMMAND = ("fit", "faithful", "--components", "2")
COMMAND_LIMITS = {"first": 5.0, "cached": 3.3}
CASES = {
    "first": "first fit of a process",
    "cached": "first fit of a process, programs cached",
    "second": "second fit",
}
ONCE = ("PyStan", "PyMC + nutpie")
"""Peers whose first fit takes a minute."""


def faithful(folder: Path) -> Path:
    """The problem in a file, starting from a split at 68 minutes of waiting."""
    x, path = np.asarray(bg.datasets.load("faithful").values), folder / "problem.npz"
    late = x[:, 1] > 68
    covariances = np.stack([np.cov(x[part].T) for part in (~late, late)])
    start = bg.Mixture.from_moments([1 - late.mean(), late.mean()], [x[~late].mean(0), x[late].mean(0)], covariances)
    Problem.of(x, start, bg.Prior(variances=prior_of_variances(x)).for_data(x, 2)).save(path)
    return path


def caches(folder: Path, ours: bool) -> dict[str, str]:
    """Where each program keeps what it compiled."""
    places = {"XDG_CACHE_HOME": "xdg", "PYTENSOR_FLAGS": "pytensor", "NUMBA_CACHE_DIR": "numba"}
    found = {name: str(folder / place) for name, place in places.items()}
    found["PYTENSOR_FLAGS"] = f"base_compiledir={found['PYTENSOR_FLAGS']}"
    if ours:
        found |= {"BENCHMARK_CACHE": str(folder / "ours"), "JAX_COMPILATION_CACHE_DIR": str(folder / "jax")}
        found["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    return found


class Stopwatch:
    """Times processes of their own, and keeps their processor seconds."""

    def __init__(self, problem: Path, folder: Path) -> None:
        self.problem, self.folder, self.processor = problem, folder, {}

    def first(self, program: str, turn: int) -> float:
        """A process whose caches are empty; it fills those that are kept unasked."""
        place = self.folder / f"{program} {turn}"
        return self._time(program, "first", caches(place, ours=False))

    def cached(self, program: str, turn: int) -> float:
        """A process that finds its programs on disk: those of the first process where they are kept unasked."""
        kept = caches(self.folder / (f"{program} 0" if program in ONCE else program), ours=True)
        if turn == 0 and program not in ONCE:
            self._time(program, "filling", kept)
        return self._time(program, "cached", kept)

    def second(self, program: str, turn: int) -> float:
        """The later of two fits in one process."""
        output = fresh([str(HERE / "first_fit.py"), program, str(self.problem), "2"])[2]
        return float(output.split()[-1])

    def _time(self, program: str, kind: str, environment: dict[str, str]) -> float:
        wall, processor, _ = fresh([str(HERE / "first_fit.py"), program, str(self.problem)], environment)
        self.processor.setdefault(kind, {}).setdefault(program, []).append(processor)
        return wall


def part(quick: bool, skipped: Skipped) -> Iterator[Record]:
    """First, cached and second fit of EM, then of the posterior."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        watch = Stopwatch(faithful(folder), folder)
        for fit, peers in (("fit_em", ["scikit-learn"]), ("fit_nuts", list(PEERS))):
            peers = [] if quick else installed(peers, skipped)
            for kind, case in CASES.items():
                yield waited(watch, fit, peers, kind, case, 1 if quick else 3, skipped)
        yield waited(watch, "fit_hmc", [], "first", CASES["first"], 1 if quick else 3, skipped)
        yield from command(folder, 1 if quick else 3)


def command(folder: Path, repeats: int) -> Iterator[Record]:
    """The command of the README, which prints the comparison and writes draws, tables and a figure."""
    arguments = ["-m", "bayes_gmm", *COMMAND, "--out", str(folder / "results")]
    taken: dict[str, list[float]] = {kind: [] for kind in COMMAND_LIMITS}
    for turn in range(repeats):
        for own in taken.values():  # the second process finds what the first has compiled
            own.append(fresh(arguments, {"XDG_CACHE_HOME": str(folder / f"command {turn}")})[0])
    for kind, limit in COMMAND_LIMITS.items():
        case = CASES[kind].replace("first fit of a process", "a process")
        yield measure(f"bayes-gmm {' '.join(COMMAND)}", case, "s", {OURS: taken[kind]}, limit=limit)


def waited(
    watch: Stopwatch, fit: str, peers: list[str], kind: str, case: str, repeats: int, skipped: Skipped
) -> Record:
    """One measure; who keeps no programs on disk has no cached fit, and who takes minutes makes one turn."""
    names = {OURS: fit} | {name: name for name in peers if not (kind == "cached" and name == "scikit-learn")}
    if kind == "second":
        names = {name: program for name, program in names.items() if name not in ONCE}
    programs = {
        name: lambda turn, program=program: getattr(watch, kind)(program, turn) for name, program in names.items()
    }
    times = {name: 1 if name in ONCE else repeats for name in names}
    turns = take_turns(programs, times, f"{fit}, {kind}", skipped)
    return measure(
        fit, case, "s", turns, limit=LIMITS.get((fit, kind)), processor_seconds=watch.processor.pop(kind, {})
    )


if __name__ == "__main__":
    main("wait", part)
