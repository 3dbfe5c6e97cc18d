"""Files and pickles written when all modules lay in one folder still load, bit for bit.

`tests/references/flat_layout` was written by version 0.1.0 of that layout, with `expected.json` from the same process.
"""

import json
import pickle
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpyro.distributions as dist
import pytest

import bayes_gmm as bg
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.checkpoint_format import unpack, whole_frames

FOLDER = Path(__file__).parents[1] / "references" / "flat_layout"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def same_versions(*packages: str) -> bool:
    return all(EXPECTED["versions"][package] == version(package) for package in packages)


@pytest.fixture(scope="module")
def galaxies() -> bg.Table:
    return bg.datasets.load("galaxies")


def test_a_fit_loads(galaxies: bg.Table) -> None:
    mle = bg.load(FOLDER / "mle.nc")
    assert isinstance(mle, bg.EMFit)
    assert mle.mixture.means.tolist() == EXPECTED["mle"]["means"]
    assert mle.log_likelihood == EXPECTED["mle"]["log_likelihood"]
    np.testing.assert_array_equal(mle.table.values, galaxies.values)


def test_a_fit_with_a_prior_and_held_weights_loads() -> None:
    held = bg.load(FOLDER / "map.nc")
    assert held.problem.prior == bg.ConjugatePrior()
    np.testing.assert_array_equal(held.mixture.weights, [0.5, 0.5])


def test_a_posterior_loads() -> None:
    posterior = bg.load(FOLDER / "posterior.nc")
    assert isinstance(posterior, bg.Posterior)
    assert posterior.draws.means.tolist() == EXPECTED["posterior"]["means"]
    assert posterior.verdict.status.name == EXPECTED["posterior"]["verdict"]
    assert isinstance(posterior.problem.prior, bg.Prior)


def test_a_laplace_fit_loads() -> None:
    assert bg.load(FOLDER / "laplace.nc").log_evidence == EXPECTED["laplace"]["log_evidence"]


def test_the_records_of_a_checkpoint_are_read() -> None:
    with open(FOLDER / "run.draws", "rb") as file:
        file.readline()
        frames = [frame.payload for frame in whole_frames(file, (FOLDER / "run.draws").stat().st_size)]
    identity, *records = json.loads(frames[0]), *map(unpack, frames[1:])
    assert identity["seed"] == 0
    assert records


@pytest.mark.skipif(not same_versions("bayes_gmm", "jax", "numpyro"), reason="only the same versions go on with a run")
def test_a_run_of_the_former_sampler_is_refused_in_words_and_kept(tmp_path: Path, galaxies: bg.Table) -> None:
    """Draws of another sampler would not be those of one run."""
    path = tmp_path / "run.draws"
    path.write_bytes((FOLDER / "run.draws").read_bytes())
    mle = bg.load(FOLDER / "mle.nc")
    # What was the default then.
    prior = bg.Prior(
        means=dist.Normal(
            galaxies.values.mean(0) * np.ones((2, 1)), 2 * galaxies.values.var(0) ** 0.5 * np.ones((2, 1))
        ),
        variances=dist.InverseGamma(2 * np.ones((2, 1)), 0.5 * 2**-2.0 * galaxies.values.var(0) * np.ones((2, 1))),
    )
    options = {"prior": prior, "num_samples": 20, "num_warmup": 50, "num_chains": 2, "progress": False}
    with pytest.raises(ArgumentError, match=r"of another run: its sampler is 'missing'\. Expected sampler 'NUTS'"):
        bg.fit_nuts(galaxies, 2, start=mle, checkpoint=path, **options)
    assert path.read_bytes() == (FOLDER / "run.draws").read_bytes()


def test_a_pickled_estimator_loads(galaxies: bg.Table) -> None:
    estimator = pickle.loads((FOLDER / "gaussian_mixture.pickle").read_bytes())
    assert type(estimator) is bg.estimators.GaussianMixture
    np.testing.assert_allclose(estimator.score(galaxies.values), EXPECTED["gaussian_mixture"]["score"], rtol=1e-12)


@pytest.mark.skipif(not same_versions("jax", "numpyro", "xarray", "pandas"), reason="the pickle holds their objects")
def test_a_pickled_posterior_loads_with_its_estimator(galaxies: bg.Table) -> None:
    estimator = pickle.loads((FOLDER / "bayesian_gaussian_mixture.pickle").read_bytes())
    assert type(estimator) is bg.estimators.BayesianGaussianMixture
    found = estimator.score_samples(galaxies.values[:5])
    np.testing.assert_allclose(found, EXPECTED["bayesian"]["score_samples"], rtol=1e-12)


@pytest.mark.parametrize("kind", [bg.estimators.GaussianMixture, bg.estimators.BayesianGaussianMixture])
def test_estimators_are_pickled_under_their_public_name(kind: type) -> None:
    assert kind.__module__ == "bayes_gmm.estimators"
    assert b"bayes_gmm.estimators" in pickle.dumps(kind())
    assert pickle.loads(pickle.dumps(kind())).get_params() == kind().get_params()


def test_a_former_module_refuses_every_name_but_those_that_moved() -> None:
    former = sys.modules["bayes_gmm.em_fit"]
    assert former.EMFit is bg.EMFit
    with pytest.raises(AttributeError, match="has no attribute 'fit_em'"):
        _ = former.fit_em
    assert not hasattr(former, "__wrapped__")
