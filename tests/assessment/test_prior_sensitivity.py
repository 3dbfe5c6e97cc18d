"""What the prior does to each parameter: exact posteriors, refits at another power of the prior, planted conflicts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st
import xarray as xr

import bayes_gmm as bg
from bayes_gmm.assessment.parameter_comparison import PRIOR, Row
from bayes_gmm.assessment.prior_sensitivity import INFORMATIVE, PriorSensitivity, prior_sensitivity
from bayes_gmm.assessment.sentences import Misfit, sentences

pytestmark = pytest.mark.numpyro

N_DRAWS = 4000
SUM_OF_SQUARES, N_POINTS = 50.0, 60

type Family = Callable[[float], st.rv_continuous]
"""Exact posterior when the prior has some power."""

type LogPrior = Callable[[np.ndarray], np.ndarray]
"""Log density of the prior, relative to its measure without information."""

CONJUGATE: dict[str, tuple[Family, LogPrior]] = {
    # N(1, .2^2) for a mean whose likelihood is N(0, .1^2).
    "mean": (
        lambda power: st.norm(power * 25 / (100 + power * 25), (100 + power * 25) ** -0.5),
        lambda mean: -((mean - 1.0) ** 2) / (2 * 0.2**2),
    ),
    # InverseGamma(3, 40) for a variance, relative to d log v.
    "variance": (
        lambda power: st.invgamma(3 * power + N_POINTS / 2, scale=40 * power + SUM_OF_SQUARES / 2),
        lambda variance: -3 * np.log(variance) - 40 / variance,
    ),
    # Dirichlet(8, 2) for weights of 20 and 60 points, relative to Dirichlet(1/2, 1/2).
    "weight": (
        lambda power: st.beta(20.5 + 7.5 * power, 60.5 + 1.5 * power),
        lambda weight: 7.5 * np.log(weight) + 1.5 * np.log1p(-weight),
    ),
}


def evaluated(family: Family, log_prior: LogPrior) -> tuple[np.ndarray, PriorSensitivity]:
    """Draws that are quantiles of the posterior, in random order, and what the package finds from them."""
    quantiles = np.random.default_rng(0).permutation((np.arange(N_DRAWS) + 0.5) / N_DRAWS)
    draws = family(1.0).ppf(quantiles).reshape(4, -1)
    axes = ("chain", "draw")
    coordinates = {"chain": np.arange(4), "draw": np.arange(N_DRAWS // 4)}
    parameter = xr.Dataset({"theta": ((*axes, "component"), draws[..., None])}, coordinates)
    return draws, prior_sensitivity(parameter, xr.Dataset({"part": (axes, log_prior(draws))}, coordinates))


def distance(one: st.rv_continuous, other: st.rv_continuous, low: float, high: float) -> float:
    """Cumulative Jensen-Shannon distance (Nguyen and Vreeken 2015) by quadrature, the larger of both directions."""
    grid = np.linspace(low, high, 20_001)

    def directed(p: np.ndarray, q: np.ndarray) -> float:
        middle = (p + q) / 2
        terms = [np.where(part > 0, part * np.log2(np.where(part > 0, part, 1.0) / middle), 0.0) for part in (p, q)]
        return float(np.sqrt(np.trapezoid(sum(terms), grid) / np.trapezoid(p + q, grid)))

    return max(directed(one.cdf(grid), other.cdf(grid)), directed(one.sf(grid), other.sf(grid)))


@pytest.mark.parametrize("name", CONJUGATE)
def test_sensitivity_is_the_distance_of_exact_posteriors(name: str) -> None:
    """Of those with the prior at the powers 0.99 and 1.01. Control: two per cent more power is noticed."""
    family, log_prior = CONJUGATE[name]
    draws, found = evaluated(family, log_prior)
    low, high = draws.min(), draws.max()

    def slope(step: float) -> float:
        return float(np.mean([distance(family(1.0), family(1 + s * step), low, high) for s in (-1, 1)]) / np.log2(1.01))

    assert found.of_part["part"]["theta"][0] == pytest.approx(slope(0.01), rel=0.02)
    assert found.of_part["part"]["theta"][0] != pytest.approx(slope(0.0104), rel=0.02)


@pytest.mark.parametrize("name", CONJUGATE)
def test_shift_is_that_from_the_posterior_without_the_prior(name: str) -> None:
    """Exactly, but for the quantiles that stand for the draws. Control: to first order it would be too small."""
    family, log_prior = CONJUGATE[name]
    draws, found = evaluated(family, log_prior)
    exact = (family(1.0).mean() - family(0.0).mean()) / family(1.0).std()
    assert abs(exact) > 0.5
    assert found.shift["theta"][0] == pytest.approx(exact, rel=0.03)
    first_order = np.cov(draws.ravel(), log_prior(draws).ravel())[0, 1] / draws.std()
    assert first_order != pytest.approx(exact, rel=0.03)


def test_another_measure_gives_another_shift() -> None:
    """Relative to dv the same InverseGamma(1, 1) of a variance v would seem to pull it down."""

    def family(power: float) -> st.rv_continuous:
        return st.invgamma(power + N_POINTS / 2, scale=power + SUM_OF_SQUARES / 2)

    exact = (family(1.0).mean() - family(0.0).mean()) / family(1.0).std()
    shift = [
        evaluated(family, lambda variance, power=power: -power * np.log(variance) - 1 / variance)[1].shift["theta"][0]
        for power in (1, 2)
    ]
    assert shift[0] == pytest.approx(exact, abs=0.01)
    assert shift[1] < exact - 0.1


def test_a_prior_that_is_its_measure_has_no_influence_and_a_constant_is_not_sensitive() -> None:
    _, found = evaluated(CONJUGATE["mean"][0], lambda mean: np.zeros_like(mean))
    assert found.of_part["part"]["theta"][0] == 0
    assert found.shift["theta"][0] == 0


def apart(distance: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(0, 1, 100), rng.normal(distance, 1, 100)])[:, None]


def compared(x: object, prior: bg.Prior | None = None, n_samples: int = 1000) -> bg.Comparison:
    mle = bg.fit_em(x, 2)
    posterior = bg.fit_nuts(x, 2, start=mle, prior=prior, num_samples=n_samples, progress=False)
    return bg.compare(mle, posterior)


def names(comparison: bg.Comparison) -> set[str]:
    return {row.name for row in comparison.rows if PRIOR in row.flags}


def by_name(comparison: bg.Comparison) -> dict[str, Row]:
    return {row.name: row for row in comparison.rows}


def former_default(x: np.ndarray, n_components: int) -> bg.Prior:
    """Variances that follow the total variance, however far apart the clusters are."""
    return bg.Prior(
        means=dist.Normal(x.mean(0), 2 * x.std(0)),
        variances=dist.InverseGamma(2.0, 0.5 * n_components ** (-2 / x.shape[1]) * x.var(0)),
    )


def test_the_default_prior_of_faithful_is_not_noticed(faithful_posterior: bg.Posterior) -> None:
    comparison = bg.compare(faithful_posterior.mle, faithful_posterior)
    assert not names(comparison)
    assert max(row.prior_sensitivity for row in comparison.rows) < INFORMATIVE / 2
    assert "No parameter depends noticeably on the prior" in " ".join(comparison.hidden())


@pytest.mark.slow
def test_a_prior_that_follows_the_total_variance_is_flagged_and_the_default_is_not() -> None:
    x = apart(50.0)
    new, old = compared(x), compared(x, former_default(x, 2))
    assert not names(new)
    assert max(abs(row.prior_shift) for row in new.rows) < 0.1
    sds = [by_name(old)[f"sd[{k}, x1]"] for k in range(2)]
    for row in sds:
        assert PRIOR in row.flags
        assert row.prior_part == "scales"
        assert row.prior_sensitivity > 10 * INFORMATIVE
        # But for the skewness of the likelihood, which shifts them under the new default too.
        assert row.shift > 4
        assert row.prior_shift == pytest.approx(row.shift, rel=0.2)
    said = " ".join(old.hidden())
    assert "The prior, not the data, moves posterior means from the estimate, in posterior sds: sd[" in said
    assert "by the shape of the likelihood" not in said
    assert "the prior overrules the data" in said


def test_a_conflict_is_flagged_where_it_is_and_nowhere_else() -> None:
    """A prior of one mean five standard errors off, which the data of the other component do not feel."""
    x = apart(50.0)
    prior = bg.Prior(means=dist.Normal(np.array([[0.6], [25.0]]), np.array([[0.1], [25.0]])))
    comparison = compared(x, prior)
    assert names(comparison) <= {"mean[0, x1]", "sd[0, x1]"}
    row = by_name(comparison)["mean[0, x1]"]
    assert row.flags == (PRIOR,)
    assert row.prior_part == "means"
    assert row.prior_shift == pytest.approx(row.shift, rel=0.2)


@pytest.mark.slow
def test_shifts_are_those_of_a_refit_with_hardly_any_prior(faithful: bg.Table, faithful_mle: bg.EMFit) -> None:
    """The scales' prior at the power 1/500 is a log-normal whose sds are sqrt(500) as large."""

    def prior(power: float) -> bg.Prior:
        widths = np.array([1.0, 0.2]) / np.sqrt(power)
        return bg.Prior(scales=dist.LogNormal(np.log(np.array([0.35, 12.0])), widths), resolution="data")

    fits = [
        bg.fit_nuts(faithful, 2, start=faithful_mle, prior=prior(power), num_samples=1000, progress=False)
        for power in (1, 1 / 500)
    ]
    with_prior, without = (posterior.draws.scales for posterior in fits)
    found = prior_sensitivity(fits[0].tree["posterior"].to_dataset(), fits[0].log_prior[["scales"]]).shift["scales"]
    exact = (with_prior.mean((0, 1)) - without.mean((0, 1))) / with_prior.std((0, 1))
    assert exact[0, 1] > 0.8  # posterior sds, of the spread of waiting times
    np.testing.assert_allclose(found, exact, atol=0.15)  # five Monte Carlo errors of the difference of two means


def test_records_and_tree_hold_the_sensitivities(faithful_posterior: bg.Posterior) -> None:
    record = bg.compare(faithful_posterior.mle, faithful_posterior).records()[3]
    parts = {part: record[f"sensitivity_{part}"] for part in ("weights", "means", "scales", "correlations")}
    assert record["prior_sensitivity"] == max(parts.values())
    assert record["prior_part"] == max(parts, key=parts.__getitem__)
    tree = faithful_posterior.with_prior(10)
    assert set(tree["log_prior"].data_vars) == set(parts)
    import arviz as az

    theirs = az.psense(tree, var_names=["scales"], group_var_names=["scales"])
    assert float(theirs["scales"][0, 0]) == pytest.approx(parts["scales"], rel=1e-6)


def row(name: str, **numbers: float | str) -> Row:
    known = {"estimate": 1.0, "standard_error": 0.1, "mean": 1.0, "sd": 0.1, "lower": 0.8, "upper": 1.2}
    return Row(component=0, parameter="mean", feature=name, r_hat=1.0, ess=1e3, **known | numbers)


def test_shifts_by_the_likelihood_and_by_the_prior_are_told_apart() -> None:
    rows = [
        row("skewed", mean=1.1, prior_shift=0.1, sensitivity_scales=0.01),
        row("pulled", mean=1.2, prior_shift=1.9, sensitivity_scales=0.3, flag="prior"),
        row("against", mean=1.08, prior_shift=-0.3, sensitivity_means=0.06, flag="skew, prior"),
    ]
    fine, overruled = Misfit(1.6, 3), Misfit(8.2, 3)
    said = list(sentences(rows, fine))
    assert said[0].endswith("by the shape of the likelihood: 2 of 3 (mean[0, skewed], mean[0, against]).")
    assert said[1].endswith("+2.00 posterior sd, of mean[0, pulled], about +1.90 of it by the prior.")
    assert said[2].startswith("An interval of estimate plus or minus is wrong for mean[0, against]")
    assert said[3].endswith("in posterior sds: mean[0, pulled] by +1.90.")
    assert said[4].startswith("The prior of the scales is informative for mean[0, pulled]:")
    assert said[5].startswith("The prior of the means is informative for mean[0, against]:")
    said = list(sentences(rows, overruled))
    assert "by the shape of the likelihood" not in " ".join(said)
    assert "worse than the estimate by 8 nats on average, where 1.5 are expected of 3 parameters" in said[4]
    unknown = [replace(each, prior_shift=np.nan, sensitivity_scales=np.nan, flag="") for each in rows[:1]]
    assert "prior" not in " ".join(sentences(unknown, fine))
