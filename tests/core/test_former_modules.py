"""Classes are found under the modules of the flat layout, where old pickles look for them."""

import subprocess
import sys
from importlib import import_module

import pytest

from bayes_gmm.core.former_modules import _MOVED

MOVED = [(former, name, place) for former, classes in _MOVED.items() for name, place in classes.items()]


@pytest.mark.parametrize(("former", "name", "place"), MOVED)
def test_every_class_is_where_the_table_says(former: str, name: str, place: str) -> None:
    found = getattr(sys.modules[f"bayes_gmm.{former}"], name)
    assert isinstance(found, type)
    assert found is getattr(import_module(f"bayes_gmm.{place}"), name)


@pytest.mark.parametrize(("room", "name"), [("mixture", "Mixture"), ("posterior", "Posterior")])
def test_rooms_with_the_name_of_a_former_module_have_its_class(room: str, name: str) -> None:
    found = getattr(import_module(f"bayes_gmm.{room}"), name)
    assert found is getattr(import_module(f"bayes_gmm.{room}.{room}"), name)


def test_an_alias_loads_nothing_and_refuses_other_names() -> None:
    code = """
import sys, bayes_gmm
for name, module in list(sys.modules.items()):
    if name.startswith("bayes_gmm."):
        assert not hasattr(module, "__wrapped__") and not hasattr(module, "no_such_name")
print("jax" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False", done.stderr
