"""Priors that tied data defeat are named; the default is not."""

import dataclasses
import warnings

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate

import bayes_gmm as bg
from bayes_gmm.bayes.marginally_uniform_cholesky import MarginallyUniformCholesky
from bayes_gmm.bayes.resolution import at_the_resolution
from bayes_gmm.bayes.tied_values import _concentration, tie_warnings

pytestmark = pytest.mark.numpyro

IMPROPER = {
    "half-normal": bg.Prior(scales=dist.HalfNormal(5.0)),
    "half-Cauchy": bg.Prior(scales=dist.HalfCauchy(1.0)),
    "exponential": bg.Prior(scales=dist.Exponential(1.0)),
    "uniform": bg.Prior(scales=dist.Uniform(0.0, 20.0)),
    "gamma that rises too slowly": bg.Prior(scales=dist.Gamma(2.0, 1.0)),
    "half-normal variances": bg.Prior(variances=dist.HalfNormal(5.0)),
}
SPIKED = {
    "wide log-normal": bg.Prior(scales=dist.LogNormal(0.0, 1.0)),
    "tiny inverse-gamma": bg.Prior(variances=dist.InverseGamma(2.0, 1e-6)),
}
SAFE = {
    "default": bg.Prior(),
    "narrow log-normal": bg.Prior(scales=dist.LogNormal(np.array([-1.0, 1.6]), 0.3)),
    "gamma that rises fast": bg.Prior(scales=dist.Gamma(20.0, 5.0)),
    "away from zero": bg.Prior(scales=dist.Uniform(0.1, 20.0)),
    "held": bg.Prior(scales=1.0),
}


def sentences(prior: bg.Prior, table: bg.Table, n_components: int = 2, covariance_type: str = "full") -> list[str]:
    complete = prior.for_data(table.values, n_components, covariance_type)
    weights = np.ones(table.n_points)
    return tie_warnings(complete.sites(n_components, table.n_features, covariance_type), table, weights)


@pytest.mark.parametrize("name", IMPROPER)
def test_priors_with_mass_at_zero_have_no_posterior_on_tied_data(name: str, faithful: bg.Table) -> None:
    (sentence,) = sentences(IMPROPER[name], faithful, 2, "diag")
    assert "'waiting' the value 78 stands 15 times" in sentence
    assert "there is no posterior" in sentence


@pytest.mark.parametrize("name", SPIKED)
def test_spikes_that_can_win_are_named(name: str, faithful: bg.Table) -> None:
    (sentence,) = sentences(SPIKED[name], faithful, 2, "diag")
    assert "a spike on such a tie can outweigh every other explanation" in sentence


@pytest.mark.parametrize("name", SAFE)
def test_safe_priors_draw_no_warning(name: str, faithful: bg.Table) -> None:
    assert sentences(SAFE[name], faithful, 2, "diag") == []


@pytest.mark.parametrize(("dataset", "n_components"), [("iris", 3), ("iris", 6), ("galaxies", 6), ("faithful", 9)])
def test_the_default_survives_the_data_sets(dataset: str, n_components: int) -> None:
    assert sentences(bg.Prior(), bg.datasets.load(dataset), n_components) == []


def test_data_without_ties_allow_every_prior() -> None:
    table = bg.as_table(np.random.default_rng(0).normal(size=(200, 2)))
    assert [sentences(prior, table) for prior in (IMPROPER | SPIKED).values()] == [[]] * 8


@pytest.mark.parametrize(
    ("prior", "n_equal", "proper"),
    [
        (dist.HalfNormal(1.0), 2, False),
        (dist.Gamma(2.0, 1.0), 2, True),
        (dist.Gamma(2.0, 1.0), 3, False),
        (dist.Gamma(3.0, 1.0), 3, True),
    ],
)
def test_the_limit_is_where_the_integral_diverges(prior: dist.Distribution, n_equal: int, proper: bool) -> None:
    """The mass of a spike on m equal values is the integral of p(sigma) sigma^(1-m) near zero."""

    def mass(lowest: float) -> float:
        def integrand(log_sigma: float) -> float:
            return float(np.exp(prior.log_prob(np.exp(log_sigma)) + (2 - n_equal) * log_sigma))

        grid = np.linspace(np.log(lowest), np.log(1e-3), 400)
        return float(scipy.integrate.trapezoid([integrand(point) for point in grid], grid))

    assert (mass(1e-12) < 1.05 * mass(1e-8)) is proper
    values = np.concatenate([np.random.default_rng(1).normal(size=100), np.full(n_equal, 0.5)])
    found = sentences(bg.Prior(scales=prior), bg.as_table(values[:, None]))
    assert any("no posterior" in sentence for sentence in found) is not proper


@pytest.mark.parametrize(
    ("covariance_type", "warned"), [("full", True), ("diag", True), ("tied", False), ("EII", False)]
)
def test_shared_scales_cannot_shrink_onto_a_tie(covariance_type: str, warned: bool, faithful: bg.Table) -> None:
    assert bool(sentences(IMPROPER["half-normal"], faithful, 2, covariance_type)) is warned


def test_a_spherical_component_needs_a_tied_row(faithful: bg.Table) -> None:
    (sentence,) = sentences(IMPROPER["half-normal"], faithful, 2, "spherical")
    assert "the row (1.75, 47) stands 2 times" in sentence
    distinct = bg.as_table(np.unique(faithful.values, axis=0))
    assert sentences(IMPROPER["half-normal"], distinct, 2, "spherical") == []


def test_fit_nuts_warns_and_notes_it_in_the_verdict(faithful: bg.Table) -> None:
    options = {"covariance_type": "diag", "num_samples": 50, "num_chains": 2, "progress": False}
    with pytest.warns(bg.FitWarning, match="'waiting' the value 78 stands 15 times"):
        posterior = bg.fit_nuts(faithful, 2, prior=IMPROPER["half-normal"], **options)
    assert any("there is no posterior" in reason for reason in posterior.verdict.reasons)
    assert posterior.verdict.status.name != "GOOD"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bg.fit_nuts(faithful, 2, **options)


OLD_DEFAULT = bg.Prior(variances=dist.InverseGamma(2.0, 0.1), correlations=dist.LKJCholesky(4, 2.0))
"""Proper on every axis, but not across: inverse-gamma variances keep a component from shrinking along a column only."""


def test_a_hyperplane_with_many_points_leaves_no_posterior() -> None:
    iris = bg.datasets.load("iris")
    (sentence,) = sentences(OLD_DEFAULT, iris, 3)
    assert "LKJCholesky, and 22 points lie on a hyperplane of sepal_width, petal_length, petal_width" in sentence
    # Proper for m < D + 2 eta = 24.
    tighter = dataclasses.replace(OLD_DEFAULT, correlations=dist.LKJCholesky(4, 10.0))
    assert sentences(tighter, iris, 3) == []
    assert sentences(dataclasses.replace(OLD_DEFAULT, resolution=0.1), iris, 3) == []
    assert sentences(dataclasses.replace(OLD_DEFAULT, correlations=0.2), iris, 3) == []
    assert sentences(dataclasses.replace(OLD_DEFAULT, correlations=None), iris, 3, "diag") == []


@pytest.mark.parametrize("n_on_it", [5, 6, 7])
def test_the_limit_of_points_on_a_line(n_on_it: int) -> None:
    """With D = 2 and LKJ(2) there is a posterior for fewer than six points on one line."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 2))
    x[:n_on_it, 1] = 0.3 - 0.7 * x[:n_on_it, 0]
    prior = bg.Prior(variances=dist.InverseGamma(2.0, 0.1), correlations=dist.LKJCholesky(2, 2.0))
    assert bool(sentences(prior, bg.as_table(x))) is (n_on_it >= 6)


@pytest.mark.parametrize(
    ("dimension", "prior", "expected"),
    [
        (2, dist.LKJCholesky(2, 1.0), 1.0),
        (4, dist.LKJCholesky(4, 2.5), 2.5),
        (4, dist.LKJCholesky(4, np.array([1.0, 3.0])), 1.0),
        (2, MarginallyUniformCholesky(2), 1.0),
        (4, MarginallyUniformCholesky(4), 6.0),
    ],
)
def test_concentration_is_read_from_the_density(dimension: int, prior: dist.Distribution, expected: float) -> None:
    """Of the marginally uniform one in closed form: 1 + (D + 1)(c - 2) / 2 for a direction that involves c columns."""
    direction = np.ones(dimension) / np.sqrt(dimension)
    assert _concentration(prior, direction) == pytest.approx(expected, abs=0.02)


def test_tied_covariances_shrink_where_there_are_no_more_values_than_components() -> None:
    rng = np.random.default_rng(5)
    x = np.column_stack([rng.normal(size=80), rng.integers(0, 2, 80)])
    two, three = (sentences(IMPROPER["half-normal"], bg.as_table(x), K, "tied") for K in (2, 1))
    assert "in column 'x2' there are 2 values" in two[0]
    assert three == []


def test_tied_covariances_shrink_onto_parallel_lines() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.normal(size=80), rng.normal(size=80)
    x = bg.as_table(np.column_stack([first, first + rng.integers(0, 2, 80)]))
    prior = bg.Prior(variances=dist.InverseGamma(2.0, 0.1), correlations=dist.LKJCholesky(2, 2.0))
    (sentence,) = sentences(prior, x, 2, "tied")
    assert "2 parallel hyperplanes of x1, x2" in sentence
    assert sentences(prior, bg.as_table(np.column_stack([first, second])), 2, "tied") == []


def test_rows_with_weights_tie_as_often_as_they_count() -> None:
    table = bg.as_table(np.random.default_rng(0).normal(size=(50, 1)))
    complete = IMPROPER["half-normal"].for_data(table.values, 2)
    once, twice = (tie_warnings(complete.sites(2, 1), table, np.full(50, weight)) for weight in (1.0, 2.0))
    assert once == []
    assert "stands 2 times" in twice[0]


@pytest.mark.filterwarnings("ignore:EM ended:bayes_gmm.FitWarning")
def test_a_component_at_the_resolution_is_named() -> None:
    rng = np.random.default_rng(6)
    x = np.concatenate([np.round(rng.normal(size=150), 1), np.full(40, 5.0)])[:, None]
    with jax.numpy_rank_promotion("allow"):
        posterior = bg.fit_nuts(x, 2, num_samples=200, num_chains=2, progress=False)
    assert any("is as narrow as the resolution in x1 (steps of 0.1)" in note for note in posterior.verdict.notes)
    assert posterior.draws.scales.min() >= 0.1 / np.sqrt(12) * (1 - 1e-9)
    wide = list(at_the_resolution(posterior.draws, np.array([0.01]), ["x1"]))
    assert wide == []
