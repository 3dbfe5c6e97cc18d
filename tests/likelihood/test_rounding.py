"""Where a component is next to singular along an oblique direction, its natural parameters hold nothing but rounding.

Such a place has no density there, rather than one that is off by many nats and that chains would seek.
"""

from typing import Any

import jax
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.bayes.posterior_problem import PosteriorProblem

pytestmark = pytest.mark.numpyro


def of_kind(kind: str) -> tuple[np.ndarray, dict[str, Any]]:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 2))
    if kind == "errors":
        return x, {"errors": rng.uniform(0.1, 0.6, x.shape)}
    x[::5, 0] = np.nan
    return x, {}


def with_sd_across(narrow: float) -> bg.Mixture:
    """Two components, of which the second has this standard deviation across its long axis."""
    tril = np.array([[[1.0, 0.0], [-0.1, 0.8]], [[0.7, 0.0], [0.8, narrow]]])
    return bg.Mixture.from_moments([0.6, 0.4], [[0.0, 0.0], [1.0, -0.5]], tril @ tril.mT)


@pytest.mark.parametrize("kind", ["errors", "missing cells"])
def test_what_rounding_would_spoil_has_no_density(kind: str) -> None:
    x, given = of_kind(kind)
    problem = PosteriorProblem.of(x, 2, covariance_type="full", prior=None, **given)

    def log_likelihood(mixture: bg.Mixture) -> float:
        with jax.enable_x64(True):
            target = problem.target()
            eta = target.data.natural(target.scaling.to_unit(mixture))
            return float(target.data.log_likelihood(eta) - target.log_volume)

    for narrow in (0.1, 1e-2, 1e-3):
        expected = float(problem.log_densities(with_sd_across(narrow)).sum())
        assert log_likelihood(with_sd_across(narrow)) == pytest.approx(expected, abs=1e-2)
    assert np.isnan(log_likelihood(with_sd_across(3e-8)))
