"""The posterior against reference moments, its tree in ArviZ's schema, and the compilations of a second fit."""

import dataclasses

import arviz as az
import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import bayes_gmm as bg
from bayes_gmm.posterior import sampling_run
from bayes_gmm.posterior.relabelling import relabel
from bayes_gmm.sampling import chains

pytestmark = pytest.mark.numpyro

# Importance sampling, effective sample size 53631, of Old Faithful z-scored with population sds, K = 2, components
# ordered by eruptions; weights ~ Dirichlet(1, 1), means ~ Normal(0, 2), scales ~ LogNormal(-1, 1), LKJ(2).
# Each entry: mean, sd, Monte Carlo standard error of the mean.
REFERENCE = {
    ("weights", 0): (0.35672337, 0.02888609, 0.00012203),
    ("means", 0, 0): (-1.27418139, 0.02438209, 0.00010414),
    ("means", 0, 1): (-1.20979908, 0.04441810, 0.00018821),
    ("means", 1, 0): (0.70293194, 0.02795242, 0.00011848),
    ("means", 1, 1): (0.66751150, 0.03413046, 0.00014457),
    ("scales", 0, 0): (0.23428080, 0.01848920, 0.00007765),
    ("scales", 0, 1): (0.43439303, 0.03181794, 0.00013511),
    ("scales", 1, 0): (0.36550421, 0.02055151, 0.00008466),
    ("scales", 1, 1): (0.44675784, 0.02455024, 0.00010355),
    ("correlations", 0, 0): (0.27006025, 0.09440512, 0.00040204),
    ("correlations", 1, 0): (0.37199152, 0.06705217, 0.00028682),
}
REFERENCE_LOG_LIKELIHOOD = (-390.98775422, 2.35960930, 0.00808206)
REFERENCE_PRIOR = bg.Prior(
    means=dist.Normal(0.0, 2.0), scales=dist.LogNormal(-1.0, 1.0), correlations=dist.LKJCholesky(2, 2.0)
)


@pytest.fixture(scope="module")
def standardised(faithful: bg.Table) -> np.ndarray:
    return (faithful.values - faithful.values.mean(0)) / faithful.values.std(0)


@pytest.fixture(scope="module")
def reference_posterior(standardised: np.ndarray) -> bg.Posterior:
    with pytest.warns(bg.FitWarning) as found:  # the reference keeps to the interior mode
        posterior = bg.fit_nuts(standardised, 2, prior=REFERENCE_PRIOR, num_samples=2000, progress=False, seed=3)
    assert any("a spike on such a tie" in str(warning.message) for warning in found)
    return posterior


def deviation(draws: np.ndarray, reference: tuple[float, float, float]) -> float:
    """Distance of the mean from the reference's, in the combined Monte Carlo standard error of the two."""
    mean, _, error = reference
    own = float(az.mcse(draws, method="mean"))
    return abs(draws.mean() - mean) / np.hypot(own, error)


@pytest.mark.parametrize("entry", REFERENCE, ids=str)
def test_posterior_means_and_sds_are_the_reference(entry: tuple, reference_posterior: bg.Posterior) -> None:
    name, *index = entry
    draws = reference_posterior.tree["posterior"][name].values[(..., *index)]
    assert deviation(draws, REFERENCE[entry]) < 4
    spread = float(az.mcse(draws, method="sd"))
    assert abs(draws.std() - REFERENCE[entry][1]) < 4 * np.hypot(spread, REFERENCE[entry][2])


def test_posterior_log_likelihood_is_the_reference(reference_posterior: bg.Posterior) -> None:
    draws = reference_posterior.tree["invariants"]["log_likelihood"].values
    assert deviation(draws, REFERENCE_LOG_LIKELIHOOD) < 4


def test_the_reference_would_notice_another_prior(standardised: np.ndarray) -> None:
    other = dataclasses.replace(REFERENCE_PRIOR, scales=None, variances=dist.InverseGamma(2.0, 0.25))
    with pytest.warns(bg.FitWarning, match="points lie on a hyperplane"):
        posterior = bg.fit_nuts(standardised, 2, prior=other, num_samples=2000, progress=False)
    draws = posterior.tree["posterior"]["scales"].values[..., 0, 0]
    assert deviation(draws, REFERENCE["scales", 0, 0]) > 10


def test_default_posterior_of_faithful_is_good(faithful_posterior: bg.Posterior) -> None:
    verdict = faithful_posterior.verdict
    assert verdict.status.name == "GOOD"
    assert verdict.n_divergent == 0
    assert max(verdict.max_rhat.values()) < 1.01
    assert faithful_posterior.draws.log_weights.shape == (4, 1000, 2)


def test_stored_log_likelihood_is_that_of_the_draws(faithful_posterior: bg.Posterior) -> None:
    pointwise = faithful_posterior.tree["log_likelihood"]["x"].values
    total = faithful_posterior.tree["invariants"]["log_likelihood"].values
    # The sampler sums over the points in blocks; the stored values are one for each point.
    np.testing.assert_allclose(pointwise.sum(-1), total, rtol=1e-12)


def test_relabelled_draws_carry_the_labels_of_the_mle(faithful_posterior: bg.Posterior) -> None:
    assert np.all(faithful_posterior.draws.means[..., 0, 0] < faithful_posterior.draws.means[..., 1, 0])
    assert faithful_posterior.relabelling.ambiguous.max() == 0


def test_tree_is_read_by_plain_arviz(faithful_posterior: bg.Posterior, tmp_path) -> None:
    path = tmp_path / "posterior.nc"
    faithful_posterior.save(path)
    tree = az.from_netcdf(path)
    table = az.summary(tree, round_to="none")
    assert set(table.index) >= {"weights[0]", "means[1, waiting]", "correlations[0, eruptions~waiting]"}
    assert table["r_hat"].max() < 1.01
    assert {"energy", "tree_depth", "diverging", "n_steps", "step_size", "lp"} <= set(tree["sample_stats"].data_vars)
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, faithful_posterior.table.values)
    loo = az.loo(tree)
    assert loo.elpd == pytest.approx(-1141.5, abs=1.0)
    assert (np.asarray(az.bfmi(tree)["energy"]) > 0.3).all()


def test_everything_handed_out_is_numpy_float64(faithful_posterior: bg.Posterior) -> None:
    leaves = jax.tree.leaves(faithful_posterior.draws)
    assert all(type(leaf) is np.ndarray and leaf.dtype == np.float64 for leaf in leaves)
    for group in faithful_posterior.tree.groups[1:]:
        for variable in faithful_posterior.tree[group].data_vars.values():
            assert isinstance(variable.data, np.ndarray)
            assert variable.dtype in (np.float64, np.int64, np.bool_)


def test_responsibilities_are_the_mean_over_the_draws(faithful_posterior: bg.Posterior) -> None:
    thinned = jax.tree.map(lambda leaf: leaf[:, ::10], faithful_posterior.draws)
    each = thinned.responsibilities(faithful_posterior.table.values)
    mean = faithful_posterior.responsibilities()
    assert mean.shape == (272, 2)
    np.testing.assert_allclose(mean.sum(1), 1.0, rtol=1e-12)
    # Four hundred of the four thousand draws: their mean is off by up to five sd / sqrt(400).
    bound = 5 * faithful_posterior.responsibilities_sd() / np.sqrt(400) + 1e-4
    assert np.all(np.abs(each.mean((0, 1)) - mean) < bound)


def test_same_seed_same_draws_and_another_seed_others(faithful: bg.Table, faithful_mle: bg.EMFit) -> None:
    def means(seed: int) -> np.ndarray:
        options = {"num_samples": 50, "num_chains": 2, "progress": False}
        return bg.fit_nuts(faithful, 2, start=faithful_mle, seed=seed, **options).draws.means

    np.testing.assert_array_equal(means(5), means(5))
    assert not np.array_equal(means(5), means(6))


def test_second_fit_of_other_data_of_the_same_shape_compiles_nothing(
    faithful: bg.Table, compilations: list[str]
) -> None:
    some = faithful.values[:93]  # which no other test is about
    other = np.random.default_rng(0).permuted(some, axis=0) * 3 + 100 + some
    options = {"num_samples": 100, "num_chains": 2, "progress": False}
    bg.fit_nuts(some, 2, **options)
    assert compilations  # the fixture does record the compilations of the first fit
    compilations.clear()
    bg.fit_nuts(other, 2, seed=1, **options)
    assert compilations == []


def test_label_switched_chains_are_relabelled_and_nothing_invariant_changes(
    faithful_posterior: bg.Posterior,
) -> None:
    x, draws = faithful_posterior.table.values, faithful_posterior.draws
    swap = np.random.default_rng(0).permuted(np.broadcast_to([0, 1], (4, 1000, 2)), axis=-1)
    switched = draws.permute(swap)
    np.testing.assert_array_equal(
        jax.tree.map(lambda leaf: leaf[:, :5], switched).log_prob(x),
        jax.tree.map(lambda leaf: leaf[:, :5], draws).log_prob(x),
    )
    found = relabel(switched, faithful_posterior.mle.mixture, x)
    np.testing.assert_array_equal(switched.permute(found.permutations).means, draws.means)


def test_ctrl_c_keeps_the_finished_draws(faithful: bg.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, calls = chains._advance_all, []

    def interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(chains, "_advance_all", interrupted)
    posterior = bg.fit_nuts(faithful, 2, num_warmup=200, num_samples=1000, num_chains=2, progress=False)
    assert posterior.interrupted
    n_draws = posterior.draws.log_weights.shape[1]
    assert 0 < n_draws < 1000
    assert f"interrupted after {n_draws} draws" in str(posterior.verdict)
    whole = bg.fit_nuts(faithful, 2, num_warmup=200, num_samples=n_draws, num_chains=2, progress=False)
    np.testing.assert_array_equal(posterior.draws.means, whole.draws.means)


def test_ctrl_c_during_warmup_is_passed_on(faithful: bg.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(chains, "_advance_all", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bg.fit_nuts(faithful, 2, num_chains=2, progress=False)


def test_without_a_mode_the_metric_is_adapted_and_that_is_said() -> None:
    x = np.random.default_rng(4).normal(size=(300, 1))
    x[:100] += 5
    mle = bg.fit_em(x, 2)
    find_modes = sampling_run.find_modes

    def saddle(*arguments: object, **options: object) -> object:
        found = find_modes(*arguments, **options)
        return found._replace(around=found.around._replace(damping=np.ones_like(found.around.damping)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayes_gmm.posterior.sampling_run.find_modes", saddle)
        posterior = bg.fit_nuts(x, 2, start=mle, num_samples=100, num_chains=2, progress=False)
    assert "adapted" in posterior.verdict.notes[0]
    assert posterior.tree["posterior"].attrs["num_warmup"] == 1000


@pytest.mark.slow
def test_shorter_steps_keep_draws_from_diverging() -> None:
    """Three overlapping components, a hundred points each: by default some draws diverge."""
    means = 3.0 * np.arange(3)[:, None] * np.eye(2)[0]
    x = bg.Mixture.from_moments(np.full(3, 1 / 3), means, np.tile(np.eye(2), (3, 1, 1))).sample(300, seed=5)[0]
    mle = bg.fit_em(x, 3)
    usual, careful = (
        bg.fit_nuts(x, 3, start=mle, num_samples=1000, target_accept_prob=accept_prob, progress=False)
        for accept_prob in (0.8, 0.95)
    )
    assert "transitions diverged" in str(usual.verdict)
    assert usual.verdict.n_divergent > 3 * careful.verdict.n_divergent
    shorter, longer = (posterior.tree["sample_stats"]["step_size"].values[:, -1] for posterior in (careful, usual))
    assert shorter.mean() < longer.mean()
    rates = [posterior.tree["sample_stats"]["acceptance_rate"].values.mean() for posterior in (usual, careful)]
    assert rates[0] < rates[1]
    assert [posterior.tree["posterior"].attrs["target_accept_prob"] for posterior in (usual, careful)] == [0.8, 0.95]


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    ("argument", "value"),
    [("num_samples", 0), ("num_warmup", -1), ("num_chains", 1.5), ("seed", -1), ("n_components", 0)],
)
def test_bad_arguments_are_named(argument: str, value: object, faithful: bg.Table) -> None:
    arguments = {"n_components": 2, "progress": False} | {argument: value}
    with pytest.raises(bg.ArgumentError, match=f"^{argument} is {value}"):
        bg.fit_nuts(faithful, **arguments)


def test_a_start_of_another_table_or_number_is_refused(faithful: bg.Table, faithful_mle: bg.EMFit) -> None:
    for x, n_components in ((faithful, 3), (faithful.values[:200], 2)):
        with pytest.raises(bg.ArgumentError, match="start has 2 components of structure VVV on a table of 272 points"):
            bg.fit_nuts(x, n_components, start=faithful_mle, progress=False)


def test_saving_into_a_missing_folder_is_refused_with_words(faithful_posterior: bg.Posterior, tmp_path) -> None:
    with pytest.raises(bg.OutputError, match=r"cannot be written.*Choose another path"):
        faithful_posterior.save(tmp_path / "missing" / "posterior.nc")
