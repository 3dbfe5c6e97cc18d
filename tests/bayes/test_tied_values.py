"""Priors that tied data defeat are named; the default is not."""

import warnings

import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.integrate

import bayes_gmm as bg
from bayes_gmm.bayes.tied_values import tie_warnings

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
    return tie_warnings(complete.sites(n_components, table.n_features, covariance_type), table)


@pytest.mark.parametrize("name", IMPROPER)
def test_priors_with_mass_at_zero_have_no_posterior_on_tied_data(name: str, faithful: bg.Table) -> None:
    (sentence,) = sentences(IMPROPER[name], faithful)
    assert "'waiting' the value 78 stands 15 times" in sentence
    assert "there is no posterior" in sentence


@pytest.mark.parametrize("name", SPIKED)
def test_spikes_that_can_win_are_named(name: str, faithful: bg.Table) -> None:
    (sentence,) = sentences(SPIKED[name], faithful)
    assert "a spike on such a tie can outweigh every other explanation" in sentence


@pytest.mark.parametrize("name", SAFE)
def test_safe_priors_draw_no_warning(name: str, faithful: bg.Table) -> None:
    assert sentences(SAFE[name], faithful) == []


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


def test_fit_nuts_warns_and_notes_it_in_the_verdict(faithful: bg.Table, faithful_mle: bg.EMFit) -> None:
    options = {"start": faithful_mle, "num_samples": 50, "num_chains": 2, "progress": False}
    with pytest.warns(bg.FitWarning, match="'waiting' the value 78 stands 15 times"):
        posterior = bg.fit_nuts(faithful, 2, prior=IMPROPER["half-normal"], **options)
    assert any("there is no posterior" in reason for reason in posterior.verdict.reasons)
    assert posterior.verdict.status.name != "GOOD"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bg.fit_nuts(faithful, 2, **options)
