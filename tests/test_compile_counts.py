"""What a user waits for grows only when somebody says so here: programs to compile, and the time of an import."""

import json
import subprocess
import sys
from collections import Counter

IMPORT_SECONDS = 1.0

FIT_EM = {"_one_by_one": 1}
"""Programs of the package that a first `fit_em` of a long table compiles; a short one is fitted in NumPy."""

FIT_NUTS = {"to_coordinates": 1, "_to_mixtures": 1, "_at_rows": 1, "_advance": 1}
"""Those of a first `fit_nuts` of a short table: each once, whichever thread asks first."""

MOST_OPERATIONS = 24
"""Single operations outside these, compiled by NumPyro where it checks the prior and by JAX where it moves data."""

COUNT = """
import json, jax, numpy as np, bayes_gmm as bg
names, x = [], bg.datasets.load("faithful")
long = np.tile(x.values, (20, 1)) + np.random.default_rng(0).normal(size=(5440, 2))
def listen(event, duration, fun_name="", **_):
    if event.endswith("backend_compile_duration"):
        names.append(fun_name.removeprefix("jit(").removesuffix(")"))
jax.monitoring.register_event_duration_secs_listener(listen)
def compiled(fit):
    names.clear()
    fit()
    return names[:]
em = lambda: bg.fit_em(x, 2)
em_of_many = lambda: bg.fit_em(long, 2)
nuts = lambda seed=0: bg.fit_nuts(
    x, 2, num_samples=50, num_warmup=50 + seed, target_accept_prob=0.8 + seed / 20, seed=seed, progress=False
)
print(json.dumps([compiled(fit) for fit in {fits}]))
"""


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled_by(fits: str) -> list[Counter[str]]:
    """Names of the programs that each fit compiles, one after the other in a process of their own."""
    return [Counter(names) for names in json.loads(in_a_fresh_process(COUNT.replace("{fits}", fits)))]


def check(found: Counter[str], expected: dict[str, int]) -> None:
    programs = FIT_NUTS | FIT_EM
    assert {name: found[name] for name in programs if name in found} == expected
    operations = [name for name in found.elements() if name not in programs]
    assert len(operations) <= MOST_OPERATIONS, operations
    assert not [name for name in operations if name.startswith("_") and name != "_reduce_all"]


def test_a_first_fit_compiles_no_more_than_it_did() -> None:
    short, long = compiled_by("[em, em_of_many]")
    check(short, {})
    check(long, FIT_EM)


def test_a_first_posterior_compiles_no_more_than_it_did_and_later_fits_nothing() -> None:
    first, second, em = compiled_by("[nuts, lambda: nuts(1), em]")
    check(first, FIT_NUTS)
    assert not second
    assert not em


def test_importing_the_package_takes_less_than_a_second() -> None:
    code = "import time; before = time.process_time(); import bayes_gmm; print(time.process_time() - before)"
    assert float(in_a_fresh_process(code)) < IMPORT_SECONDS
