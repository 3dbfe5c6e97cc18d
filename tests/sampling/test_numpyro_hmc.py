"""What is assumed of NumPyro's inner interface: a release that breaks one of these is named here, not in a fit."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.hmc import hmc
from numpyro.infer.hmc_util import dual_averaging
from numpyro.infer.util import ParamInfo

import bayes_gmm as bg
from bayes_gmm.bayes.laplace_approximation import Laplace
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.sampling.numpyro_hmc import SamplerSettings, Start, Tuning, begin, observe, transition

pytestmark = pytest.mark.numpyro

FIELDS = {
    *("i", "z", "potential_energy", "energy", "num_steps", "accept_prob", "adapt_state", "diverging", "rng_key"),
}


@pytest.fixture(scope="module")
def problem() -> PosteriorProblem:
    return PosteriorProblem.of(bg.datasets.load("galaxies"), 1, covariance_type="full", prior=None)


def around(n_parameters: int) -> Laplace:
    zero = np.zeros(n_parameters)
    return Laplace(zero, np.eye(n_parameters), np.array(0.0), zero, np.array(0.0), np.array(0.0))


def test_the_names_that_are_used_exist() -> None:
    assert {"potential_fn_gen", "algo"} <= set(inspect.signature(hmc).parameters)
    assert ParamInfo._fields == ("z", "potential_energy", "z_grad")
    initialise, _ = hmc(potential_fn_gen=lambda: lambda z: (z**2).sum(), algo="NUTS")
    used = {"num_warmup", "step_size", "adapt_step_size", "adapt_mass_matrix", "dense_mass", "target_accept_prob"}
    assert used | {"max_tree_depth", "model_args", "rng_key"} <= set(inspect.signature(initialise).parameters)


def test_the_state_has_the_fields_that_are_read() -> None:
    initialise, _ = hmc(potential_fn_gen=lambda: lambda z: (z**2).sum() / 2, algo="NUTS")
    with jax.enable_x64(True):
        state = initialise(jnp.ones(2), num_warmup=0, step_size=0.5, rng_key=jax.random.PRNGKey(0))
    assert set(state._fields) >= FIELDS
    assert "step_size" in state.adapt_state._fields
    assert int(state.i) == 0


def test_the_second_closure_reads_what_the_first_has_set() -> None:
    _, move = hmc(potential_fn_gen=lambda: lambda z: (z**2).sum() / 2, algo="NUTS")
    other, _ = hmc(potential_fn_gen=lambda: lambda z: (z**2).sum() / 2, algo="NUTS")
    with jax.enable_x64(True):
        state = other(jnp.ones(2), num_warmup=0, step_size=0.5, rng_key=jax.random.PRNGKey(0))
        with pytest.raises(
            (AssertionError, TypeError, NameError)
        ):  # were it none, `transition` need not trace the first
            move(state, (), {})


def test_dual_averaging_is_that_of_nuts() -> None:
    start, update = dual_averaging()
    with jax.enable_x64(True):
        log_step, log_average, gradient_sum, count, mu = jax.device_get(update(0.3, start(jnp.log(10 * 0.5))))
    # Hoffman and Gelman (2014), section 3.2.1, with t0 = 10, kappa = 0.75, gamma = 0.05.
    np.testing.assert_allclose(gradient_sum, 0.3 / 11, rtol=1e-6)
    np.testing.assert_allclose(log_step, np.log(5.0) - np.sqrt(1) / 0.05 * 0.3 / 11, rtol=1e-5)
    np.testing.assert_allclose([log_average, count, mu], [log_step, 1, np.log(5.0)], rtol=1e-5)


def test_transitions_are_functions_of_their_arguments(problem: PosteriorProblem) -> None:
    with jax.enable_x64(True):
        target = problem.target()
        n_parameters = 2
        mode = around(n_parameters)
        offset = jnp.array([20.0, 3.0])
        potential, slope = jax.value_and_grad(target.potential)(offset)
        start = Start(offset, potential, slope, np.array([0, 7], np.uint32))
        state = begin(target, mode, start, SamplerSettings())
        tuning = Tuning(num_warmup=5, target_accept_prob=0.8)
        once, again = (transition(target, mode, state, tuning, SamplerSettings()) for _ in range(2))
        for one, other in zip(jax.tree.leaves(once), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(one, other)
        seen = observe(once, mode)
        np.testing.assert_allclose(seen["lp"], -target.potential(seen["coordinates"]), rtol=1e-12)
        assert once.hmc.i == state.hmc.i + 1
        assert seen["step_size"] != observe(state, mode)["step_size"]


def test_the_step_size_stays_once_the_warm_up_is_over(problem: PosteriorProblem) -> None:
    with jax.enable_x64(True):
        target, mode = problem.target(), around(2)
        offset = jnp.array([20.0, 3.0])
        potential, slope = jax.value_and_grad(target.potential)(offset)
        state = begin(target, mode, Start(offset, potential, slope, np.array([0, 7], np.uint32)), SamplerSettings())
        tuning = Tuning(num_warmup=2, target_accept_prob=0.8)
        sizes = []
        for _ in range(5):
            state = transition(target, mode, state, tuning, SamplerSettings())
            sizes.append(float(observe(state, mode)["step_size"]))
    assert sizes[0] != sizes[1]
    assert sizes[1] == sizes[2] == sizes[3] == sizes[4]
