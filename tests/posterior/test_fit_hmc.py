"""HMC of fixed length: the posterior of NUTS for fewer gradients, its checkpoint, and NUTS in words where it fails."""

import os
from pathlib import Path

import arviz as az
import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.posterior import sampling_run

pytestmark = pytest.mark.numpyro

OPTIONS = {"num_warmup": 100, "num_samples": 200, "num_chains": 2, "progress": False}


@pytest.fixture(scope="module")
def hmc_posterior(faithful: bg.Table, faithful_mle: bg.EMFit) -> bg.Posterior:
    return bg.fit_hmc(faithful, 2, start=faithful_mle, progress=False)


def differences(one: bg.Posterior, other: bg.Posterior, shift: float = 0.0) -> list[float]:
    """Distances of the means of the same parameters, those of one shifted, in their Monte Carlo standard errors."""
    found = []
    for name in ("weights", "means", "scales", "correlations"):
        pair = [posterior.tree["posterior"][name] for posterior in (one, other)]
        errors = [np.ravel(az.mcse(draws, method="mean")) for draws in pair]
        means = [np.ravel(draws.mean(("chain", "draw"))) for draws in pair]
        found += list(np.abs(means[0] - means[1] + shift) / np.hypot(*errors))
    return found


def test_draws_are_those_of_nuts(hmc_posterior: bg.Posterior, faithful_posterior: bg.Posterior) -> None:
    assert hmc_posterior.verdict.status.name == "GOOD"
    assert hmc_posterior.verdict.notes == ()
    assert max(differences(hmc_posterior, faithful_posterior)) < 4
    assert max(differences(hmc_posterior, faithful_posterior, shift=0.005)) > 4


def test_worst_draws_cost_fewer_gradients(hmc_posterior: bg.Posterior, faithful_posterior: bg.Posterior) -> None:
    def of(posterior: bg.Posterior) -> float:
        steps = posterior.tree["sample_stats"]["n_steps"].values.sum()
        return posterior.verdict.min_ess["invariants"] / steps

    assert of(hmc_posterior) > 1.5 * of(faithful_posterior)
    assert hmc_posterior.tree["posterior"].attrs["sampler"] == "HMC"


def test_a_torn_checkpoint_continues_to_the_same_draws(
    faithful: bg.Table, faithful_mle: bg.EMFit, tmp_path: Path
) -> None:
    path, options = tmp_path / "run", OPTIONS | {"start": faithful_mle}
    whole = bg.fit_hmc(faithful, 2, checkpoint=path, **options)
    os.truncate(path, int(0.6 * path.stat().st_size))
    found = bg.fit_hmc(faithful, 2, checkpoint=path, **options)
    np.testing.assert_array_equal(found.draws.means, whole.draws.means)
    np.testing.assert_array_equal(found.draws.means, bg.fit_hmc(faithful, 2, **options).draws.means)
    with pytest.raises(bg.ArgumentError, match=r"of another run: its .*sampler"):
        bg.fit_nuts(faithful, 2, checkpoint=path, **options)


def test_where_the_metric_is_not_known_nuts_makes_the_draws(
    faithful: bg.Table, faithful_mle: bg.EMFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_modes = sampling_run.find_modes

    def saddle(*arguments: object, **options: object) -> object:
        found = find_modes(*arguments, **options)
        return found._replace(around=found.around._replace(damping=np.ones_like(found.around.damping)))

    monkeypatch.setattr(sampling_run, "find_modes", saddle)
    posterior = bg.fit_hmc(faithful, 2, start=faithful_mle, **OPTIONS)
    assert "NUTS made the draws in place of HMC: no metric is known" in str(posterior.verdict)
    assert "adapted" in str(posterior.verdict)
    assert posterior.tree["posterior"].attrs["sampler"] == "NUTS"


def test_where_too_few_trajectories_are_accepted_nuts_makes_the_draws(
    faithful: bg.Table, faithful_mle: bg.EMFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling_run, "LESS_ACCEPTED", -0.3)
    posterior = bg.fit_hmc(faithful, 2, start=faithful_mle, **OPTIONS)
    assert "NUTS made the draws in place of HMC: of trajectories of fixed length 9" in str(posterior.verdict)
    by_nuts = bg.fit_nuts(faithful, 2, start=faithful_mle, **OPTIONS)
    np.testing.assert_array_equal(posterior.draws.means, by_nuts.draws.means)


@pytest.mark.wrong_types
@pytest.mark.parametrize(("argument", "value"), [("num_samples", 0), ("num_warmup", -1), ("target_accept_prob", 1.5)])
def test_bad_arguments_are_named(argument: str, value: object, faithful: bg.Table) -> None:
    with pytest.raises(bg.ArgumentError, match=f"^{argument} is {value}"):
        bg.fit_hmc(faithful, **({"n_components": 2, "progress": False} | {argument: value}))
