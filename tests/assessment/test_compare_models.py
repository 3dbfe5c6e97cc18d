"""Several fits in one table: order, differences and stacking weights against ArviZ's own."""

import csv
import json
import re
from dataclasses import replace

import arviz as az
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.assessment.compare_models import stacking_weights
from bayes_gmm.assessment.leave_one_out import leave_one_out
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.posterior.verdict import VerdictStatus

pytestmark = pytest.mark.numpyro

GALAXIES = bg.datasets.load("galaxies")


@pytest.fixture(scope="module")
def posteriors() -> dict[str, bg.Posterior]:
    fits = {f"K={K}": bg.fit_nuts(GALAXIES, K, num_samples=500, progress=False) for K in (1, 2, 3)}
    return fits | {"K=3 tied": bg.fit_nuts(GALAXIES, 3, covariance_type="tied", num_samples=500, progress=False)}


@pytest.fixture(scope="module")
def table(posteriors: dict[str, bg.Posterior]) -> bg.ModelComparison:
    return bg.compare_models(posteriors)


@pytest.mark.filterwarnings("ignore")  # ArviZ warns of bad points
def test_numbers_and_weights_are_those_of_arviz(posteriors: dict[str, bg.Posterior], table: bg.ModelComparison) -> None:
    expected = az.compare({name: fit.tree for name, fit in posteriors.items()}, round_to="none")
    assert [model.name for model in table.models] == list(expected.index)
    for model in table.models:
        row = expected.loc[model.name]
        assert model.elpd_loo == pytest.approx(row["elpd"], abs=1e-8)
        assert model.elpd_loo_se == pytest.approx(row["se"], rel=1e-8)
        assert model.elpd_difference == pytest.approx(row["elpd_diff"], abs=1e-8)
        assert model.elpd_difference_se == pytest.approx(row["dse"], abs=1e-8)
        assert model.weight == pytest.approx(row["weight"], abs=2e-3)
    assert sum(model.weight for model in table.models) == pytest.approx(1)


def test_criteria_are_those_of_the_fits(posteriors: dict[str, bg.Posterior], table: bg.ModelComparison) -> None:
    for model in table.models:
        mle = posteriors[model.name].mle
        assert (model.bic, model.icl, model.aic) == (mle.bic(), mle.icl(), mle.aic())
        assert model.n_components == mle.mixture.n_components
        assert model.structure == mle.structure.name
        assert model.verdict == posteriors[model.name].verdict.sampling.name


def test_stacking_is_the_maximum_that_em_finds() -> None:
    """Stacking weights by another algorithm: EM for the weights of a mixture of known densities."""
    rng = np.random.default_rng(0)
    pointwise = rng.normal(size=(4, 200)) - np.array([[0.0], [0.2], [0.1], [2.0]])
    densities, weights = np.exp(pointwise), np.full(4, 0.25)
    for _ in range(20_000):
        shares = weights[:, None] * densities
        weights = (shares / shares.sum(0)).mean(1)
    np.testing.assert_allclose(stacking_weights(pointwise), weights, atol=2e-4)


def test_stacking_gives_all_weight_to_a_model_that_is_better_everywhere() -> None:
    pointwise = np.array([np.full(50, -1.0), np.full(50, -2.0), np.full(50, -900.0)])
    np.testing.assert_allclose(stacking_weights(pointwise), [1, 0, 0], atol=1e-6)


def test_em_fits_alone_are_ordered_by_bic_and_have_no_elpd() -> None:
    fits = {f"K={K}": bg.fit_em(GALAXIES, K) for K in (1, 2, 3)}
    table = bg.compare_models(fits)
    assert [model.bic for model in table.models] == sorted(fit.bic() for fit in fits.values())
    assert all(np.isnan(model.elpd_loo) for model in table.models)
    assert " - " in str(table)


def test_text_html_csv_and_json_hold_all_models(table: bg.ModelComparison, tmp_path) -> None:
    table.to_csv(tmp_path / "models.csv")
    table.to_json(tmp_path / "models.json")
    with open(tmp_path / "models.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["elpd_loo"]) for row in rows] == [model.elpd_loo for model in table.models]
    assert [row["name"] for row in json.loads((tmp_path / "models.json").read_text())["models"]] == [
        model.name for model in table.models
    ]
    lines, html = str(table).splitlines(), table._repr_html_()
    assert len(html.encode()) < 3000
    for model, line in zip(table.models, lines[1:], strict=False):
        assert line.startswith(model.name)
        assert f"{model.bic:.2f}" in line
        assert f"<td>{model.bic:.2f}" in html
    assert max(map(len, lines[:5])) <= 125


def test_bad_draws_are_said(posteriors: dict[str, bg.Posterior]) -> None:
    verdict = replace(posteriors["K=2"].verdict, sampling=VerdictStatus.BAD)
    table = bg.compare_models(posteriors | {"K=2": replace(posteriors["K=2"], verdict=verdict)})
    assert re.search(r"The draws of .*K=2.* are BAD", str(table))
    assert not re.search(r"The draws of .*K=1.* are BAD", str(table))


@pytest.mark.wrong_types
def test_what_cannot_be_compared_is_refused(posteriors: dict[str, bg.Posterior]) -> None:
    one = posteriors["K=2"]
    with pytest.raises(bg.ArgumentError, match="1 models are given"):
        bg.compare_models({"K=2": one})
    with pytest.raises(bg.ArgumentError, match="a dictionary of at least two"):
        bg.compare_models([one, one])
    with pytest.raises(bg.ArgumentError, match="'b' is of type Mixture"):
        bg.compare_models({"a": one, "b": one.mle.mixture})
    other = bg.fit_em(GALAXIES.values[:50], 2)
    with pytest.raises(bg.ArgumentError, match="82 points of velocity, 'other' of other data: 50 points of x1"):
        bg.compare_models({"a": one, "other": other})


@pytest.mark.slow
def test_many_points_are_compared_through_a_sample() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-2, 1, (15_000, 1)), rng.normal(2, 1, (15_000, 1))])
    fits = {f"K={K}": bg.fit_nuts(x, K, num_warmup=100, num_samples=50, num_chains=2, progress=False) for K in (1, 2)}
    table = bg.compare_models(fits)
    assert "only some were left out in turn" in str(table)
    assert table.models[0].name == "K=2"
    assert table.models[0].weight > 0.99


@pytest.mark.slow
def test_a_row_of_weight_w_is_left_out_as_one_of_w_rows(faithful: bg.Table) -> None:
    x, weights = faithful.values[:80], np.arange(80) % 4
    posterior = bg.fit_nuts(x, 2, sample_weight=weights, num_samples=100, num_chains=2, progress=False)
    repeated = np.repeat(x, weights, axis=0)
    problem = PosteriorProblem.of(repeated, 2, covariance_type="full", prior=posterior.problem.prior)
    weighted, oracle = leave_one_out(posterior), leave_one_out(replace(posterior, problem=problem))
    assert weighted.elpd == pytest.approx(oracle.elpd, abs=1e-8)
    assert weighted.standard_error == pytest.approx(oracle.standard_error, rel=1e-10)
    assert weighted.effective_parameters == pytest.approx(oracle.effective_parameters, abs=1e-8)
    assert abs(weighted.pointwise.sum() - oracle.elpd) > 1
    two = np.array([weighted.pointwise, -weighted.pointwise + 2 * weighted.pointwise.mean()])
    stacked = stacking_weights(two, weighted.sample_weight)
    np.testing.assert_allclose(stacked, stacking_weights(np.repeat(two, weights, axis=1)), atol=1e-5)
    assert abs(stacked - stacking_weights(two)).max() > 1e-3
    with pytest.raises(bg.ArgumentError, match="different weights of the rows"):
        bg.compare_models({"weighted": posterior, "not": bg.fit_em(x, 2)})
