"""Flags on parameters whose draws differ from the Gaussian around the mode, and their reasons."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.stats import norm

import bayes_gmm as bg
from bayes_gmm.assessment.normal_approximation import FARTHEST_END, WIDEST, flags, gaussian_at_mode
from bayes_gmm.assessment.parameter_comparison import PROBABILITY
from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.sites import assemble, constrain

pytestmark = pytest.mark.numpyro

GALAXIES = bg.datasets.load("galaxies")


def test_the_gaussian_is_that_of_the_delta_method(faithful_posterior: bg.Posterior) -> None:
    """Its sd is the root of g' H^-1 g, the gradient g by automatic differentiation."""
    found = gaussian_at_mode(faithful_posterior)
    around, mode = faithful_posterior.modes.around, faithful_posterior.modes.mixtures
    with jax.enable_x64(True):
        sites = as_arrays(faithful_posterior.problem.sites)

        def parameters(coordinates: jax.Array) -> dict[str, jax.Array]:
            mixture = assemble(constrain(sites, coordinates)[0])
            return {name: getattr(mixture, name) for name in ("weights", "means", "scales")}

        gradients = jax.device_get(jax.jacfwd(parameters)(around.mode[0]))
    covariance = around.factor[0] @ around.factor[0].T
    for name, gradient in gradients.items():
        sds = np.sqrt(np.einsum("...i,ij,...j", gradient, covariance, gradient))
        # Components of the mode may be in another order than those of the draws.
        np.testing.assert_allclose(np.sort(found.sd[name], axis=0), np.sort(sds, axis=0), rtol=1e-6)
        np.testing.assert_allclose(np.sort(found.mode[name], axis=0), np.sort(getattr(mode, name)[0], axis=0))


def test_the_gaussian_carries_the_labels_of_the_draws(faithful_posterior: bg.Posterior) -> None:
    found = gaussian_at_mode(faithful_posterior)
    draws = faithful_posterior.draws
    for name in ("weights", "means", "scales"):
        values = getattr(draws, name)
        np.testing.assert_array_less(abs(found.mode[name] - values.mean((0, 1))), 0.6 * values.std((0, 1)))


def test_nothing_is_flagged_where_the_posterior_is_all_but_gaussian(faithful_posterior: bg.Posterior) -> None:
    comparison = bg.compare(faithful_posterior.mle, faithful_posterior)
    assert not [row.name for row in comparison.rows if row.flag]
    sd = {row.name: row.sd for row in comparison.rows}
    for row in comparison.rows:
        assert row.laplace_sd == pytest.approx(sd[row.name], rel=0.1)


@pytest.mark.parametrize("name", ["weights", "means"])
def test_shifted_and_stretched_draws_are_flagged(faithful_posterior: bg.Posterior, name: str) -> None:
    """Draws from the Gaussian itself are not flagged, and draws moved by more than the limit are."""
    gaussian = gaussian_at_mode(faithful_posterior)
    mode, sd = gaussian.mode[name], gaussian.sd[name]
    quantiles = norm.ppf((np.arange(4000) + 0.5) / 4000).reshape(4, 1000)
    exact = mode + sd * quantiles.reshape(4, 1000, *[1] * mode.ndim)
    tree = faithful_posterior.tree.copy()
    for draws, expected in (
        (exact, False),
        (exact + 0.9 * FARTHEST_END * sd, False),
        (exact + 1.2 * FARTHEST_END * sd, True),
    ):
        dataset = tree["posterior"].to_dataset()
        changed = tree.assign({})
        changed["posterior"] = dataset.assign({name: (dataset[name].dims, draws)})
        found = flags(replace(faithful_posterior, tree=changed), gaussian, PROBABILITY)[name]
        assert (found != "").all() == expected
        assert (found == "").all() != expected


@pytest.mark.slow
def test_a_component_of_three_galaxies_is_skewed_or_at_its_boundary() -> None:
    posterior = bg.fit_nuts(GALAXIES, 3, progress=False)
    found = {row.name: row.flag for row in bg.compare(posterior.mle, posterior).rows}
    assert found["sd[2, velocity]"].split(", ")[0] in ("skew", "boundary")
    assert "skew" not in found["mean[1, velocity]"]


def distances(posterior: bg.Posterior, gaussian) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Distances of the interval ends in posterior sds and ratios of the sds, computed without the package."""
    reach, found = norm.ppf((1 + PROBABILITY) / 2), {}
    for name, variable in posterior.tree["posterior"].to_dataset().items():
        values = variable.values.reshape(-1, *variable.shape[2:])
        mode, sd, spread = gaussian.mode[name], gaussian.sd[name], values.std(0)
        lower, upper = np.quantile(values, [norm.cdf(-reach), norm.cdf(reach)], axis=0)
        ends = np.maximum(abs(lower - mode + reach * sd), abs(upper - mode - reach * sd)) / spread
        found[name] = ends, np.maximum(spread / sd, sd / spread)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "n_components",
    [
        3,
        pytest.param(4, marks=pytest.mark.slow),
        pytest.param(5, marks=pytest.mark.slow),
        pytest.param(6, marks=pytest.mark.slow),
    ],
)
def test_flags_stand_up_to_a_run_five_times_as_long(n_components: int) -> None:
    """No flag is false, for any K, and where the verdict is GOOD none is missing."""
    mle = bg.fit_em(GALAXIES, n_components)
    short = bg.fit_nuts(GALAXIES, n_components, start=mle, progress=False)
    long = bg.fit_nuts(GALAXIES, n_components, start=mle, num_samples=5000, seed=1, progress=False)
    gaussian = gaussian_at_mode(long)
    found = flags(short, gaussian_at_mode(short), PROBABILITY)
    ess = short.verdict.min_ess["posterior"]
    # Monte Carlo sd of the end of an interval, in posterior sds, at the least effective size that is trusted; four.
    tail = (1 - PROBABILITY) / 2
    margin = 4 * np.sqrt(tail * (1 - tail) / max(ess, 200)) / norm.pdf(norm.ppf(tail))
    flagged = {name: texts != "" for name, texts in found.items()}
    assert any(texts.any() for texts in flagged.values())
    for name, (ends, ratios) in distances(long, gaussian).items():
        supported = (ends > FARTHEST_END - margin) | (ratios > WIDEST / (1 + margin))
        assert not (flagged[name] & ~supported).any(), name
        if short.verdict.status.name == "GOOD":
            clear = (ends > FARTHEST_END + margin) | (ratios > WIDEST * (1 + margin))
            assert not (clear & ~flagged[name]).any(), name
