"""scikit-learn's own tests of its mixtures, run on our classes by the plugin `swap_estimators`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from bayes_gmm.estimators import BayesianGaussianMixture

FOLDER = Path(__file__).parent
CHEAP = {
    *("check_estimator_cloneable", "check_no_attributes_set_in_init", "check_parameters_default_constructible"),
    *("check_do_not_raise_errors_in_init_or_set_params", "check_get_params_invariance", "check_set_params"),
    *("check_estimators_unfitted", "check_estimator_repr", "check_mixin_order", "check_estimator_tags_renamed"),
    *("check_valid_tag_types", "check_dont_overwrite_attributes", "check_estimators_dtypes", "check_fit1d"),
}


def run_theirs(module: str) -> str:
    """Run a module of scikit-learn's tests without this project's settings; returns the output of pytest."""
    options = ["-p", "swap_estimators", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(FOLDER)]
    command = [sys.executable, "-m", "pytest", *options, "-rA", "--pyargs", f"sklearn.mixture.tests.{module}"]
    quickly = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as in this process (conftest.py)
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, env=quickly).stdout


@pytest.mark.slow
def test_gaussian_mixture_passes_all_but_one_of_their_tests() -> None:
    said = run_theirs("test_gaussian_mixture")
    passed = set(re.findall(r"^PASSED \S*::(\S+)$", said, re.MULTILINE))
    assert not re.findall(r"^(?:FAILED|ERROR).*$", said, re.MULTILINE)
    assert len(passed) >= 55
    assert "used in place of scikit-learn's" in said  # otherwise scikit-learn's own classes were tested


def test_both_classes_pass_what_both_are_asked() -> None:
    said = run_theirs("test_mixture")
    assert not re.findall(r"^(?:FAILED|ERROR).*$", said, re.MULTILINE)
    assert len(re.findall(r"^PASSED", said, re.MULTILINE)) == 3


@pytest.mark.slow
def test_bayesian_mixture_passes_what_does_not_presuppose_variational_inference() -> None:
    said = run_theirs("test_bayesian_mixture")
    assert not re.findall(r"^(?:FAILED|ERROR).*$", said, re.MULTILINE)
    tested = {"test_bayesian_mixture_check_is_fitted", "test_bayesian_mixture_fit_predict_n_init"}
    assert tested <= set(re.findall(r"^PASSED \S*::(\S+)$", said, re.MULTILINE))
    assert set(re.findall(r"test_\w+", said)) - tested == set()


@pytest.mark.numpyro
@pytest.mark.wrong_types
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("all_checks", [False, True], ids=["cheap", "all"])
def test_scikit_learn_finds_no_fault_in_the_bayesian_mixture(all_checks: bool) -> None:
    short = BayesianGaussianMixture(num_warmup=50, num_samples=100, num_chains=2, n_init=1)
    checks = [
        (estimator, check)
        for estimator, check in estimator_checks_generator(short, mark="skip")
        if all_checks or getattr(check, "func", check).__name__ in CHEAP
    ]
    assert len(checks) >= (40 if all_checks else 10)
    for estimator, check in checks:
        check(estimator)
