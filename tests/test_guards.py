"""What a user waits for grows only when somebody says so here: programs to compile, and the time of an import."""

import json
import subprocess
import sys
from collections import Counter

IMPORT_SECONDS = 1.0

FIT_EM = {"_maximise_all": 1, "climb": 1, "_map_points": 1}
"""Programs of the package that the first fit of a process compiles."""

FIT_NUTS = {
    **{"to_coordinates": 1, "_to_mixtures": 1, "laplace": 1, "_begin": 1, "_advance": 1},
    **{"_map_points": 1, "_naturals": 1, "_agreements": 1, "_log_densities": 1},
}
"""Those that the first posterior adds, after `fit_em`: each is compiled once, whichever thread asks for it first."""

MOST_OPERATIONS = 24
"""Single operations outside any program, compiled by NumPyro where it checks the prior and by JAX where it moves data."""

COUNT = """
import json, sys, jax, bayes_gmm as bg
names = []
def listen(event, duration, fun_name="", **_):
    if event.endswith("backend_compile_duration"):
        names.append(fun_name.removeprefix("jit(").removesuffix(")"))
jax.monitoring.register_event_duration_secs_listener(listen)
x, stages = bg.datasets.load("faithful"), []
def stage(fit):
    fit()
    stages.append(names[:])
    names.clear()
stage(lambda: bg.fit_em(x, 2))
stage(lambda: bg.fit_nuts(x, 2, num_samples=50, num_warmup=50, progress=False))
stage(lambda: bg.fit_nuts(x, 2, num_samples=60, num_warmup=40, seed=1, progress=False))
print(json.dumps(stages))
"""


def in_a_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_fit_compiles_more_than_it_did() -> None:
    em, posterior, again = (Counter(names) for names in json.loads(in_a_fresh_process(COUNT)))
    for found, expected in ((em, FIT_EM), (posterior, FIT_NUTS)):
        own = {name: count for name, count in found.items() if name in FIT_EM | FIT_NUTS or name.startswith("_")}
        assert {name: count for name, count in own.items() if name in expected} == expected
    operations = (em + posterior).total() - sum(FIT_EM.values()) - sum(FIT_NUTS.values())
    assert operations <= MOST_OPERATIONS, em + posterior
    assert not again, "a second posterior of the same shape compiles"


def test_importing_the_package_takes_less_than_a_second() -> None:
    code = "import time; before = time.process_time(); import bayes_gmm; print(time.process_time() - before)"
    assert float(in_a_fresh_process(code)) < IMPORT_SECONDS
