"""The best order is that of SciPy, for a batch in NumPy and compiled, and the first of equals is an order as well."""

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from bayes_gmm.core.assignment import best_assignment


@pytest.mark.parametrize("n_components", [1, 2, 3, 4, 6, 8])
def test_orders_are_those_of_scipy(n_components: int) -> None:
    scores = np.random.default_rng(n_components).normal(size=(40, n_components, n_components))
    found = best_assignment(scores)
    # SciPy gives the place of each component, not the component in each place.
    expected = [np.argsort(linear_sum_assignment(one, maximize=True)[1]) for one in scores]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(jax.jit(jax.vmap(best_assignment))(scores), found)
    np.testing.assert_array_equal(best_assignment(scores[0]), found[0])


@pytest.mark.parametrize("n_components", [3, 5])
def test_equal_scores_have_an_order(n_components: int) -> None:
    order = best_assignment(np.zeros((2, n_components, n_components)))
    np.testing.assert_array_equal(np.sort(order), np.tile(np.arange(n_components), (2, 1)))
