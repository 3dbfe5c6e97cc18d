"""The prior, its unconstrained coordinates, and the NumPyro model against the sampler's density."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, autoguide, log_likelihood
from numpyro.infer.inspect import get_model_relations
from numpyro.infer.util import potential_energy

import bayes_gmm as bg
from bayes_gmm.bayes.compiled_sites import as_arrays
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.sites import assemble, constrain, disassemble, free, unconstrain
from bayes_gmm.bayes.target import Target, to_coordinates
from bayes_gmm.likelihood.complete_rows import prepare
from bayes_gmm.mixture.scaling import Scaling

pytestmark = pytest.mark.numpyro

with jax.enable_x64(True):  # outside, NumPyro would round this covariance to float32
    JOINT_MEANS = dist.MultivariateNormal(np.array([3.0, 70.0]), np.diag([1.0, 100.0]))

PRIORS = {
    "default": bg.Prior(),
    "scales": bg.Prior(scales=dist.LogNormal(-1.0, 1.0), means=dist.Normal(0.0, 50.0)),
    "vector": bg.Prior(means=dist.Normal(np.array([3.0, 70.0]), np.array([1.0, 10.0]))),
    "joint means": bg.Prior(means=JOINT_MEANS),
    "fixed scales": bg.Prior(scales=np.array([0.4, 6.0])),
    "fixed weights and correlations": bg.Prior(weights=[0.3, 0.7], correlations=0.2),
}


def random_mixture(rng: np.random.Generator, x: np.ndarray, n_components: int) -> bg.Mixture:
    D = x.shape[1]
    roots = rng.normal(size=(n_components, D, 2 * D)) * x.std(0)[:, None] / np.sqrt(2 * D)
    means = x[rng.choice(len(x), n_components)]
    return bg.Mixture.from_moments(rng.dirichlet(np.ones(n_components)), means, roots @ roots.mT)


def both_potentials(prior: bg.Prior, x: np.ndarray, mixture: bg.Mixture) -> tuple[float, float]:
    """Minus the log posterior density through the kernel, and by NumPyro from the public model."""
    K = mixture.n_components
    with jax.enable_x64(True):
        scaling = Scaling.whitening(x, np.ones(len(x)))
        sites = as_arrays(prior.for_data(x, K).sites(K, x.shape[1]))
        values = disassemble(mixture, sites)
        coordinates = jax.jit(unconstrain)(sites, values)
        target = Target(sites, prepare(x, np.ones(len(x)), scaling), scaling)
        ours = jax.jit(Target.potential)(target, coordinates)

        @jax.jit
        def of_numpyro(values: dict) -> jax.Array:
            inverses = {name: dist.biject_to(site.support).inv(values[name]) for name, site in free(sites).items()}
            return potential_energy(bg.model, (x, K), {"prior": prior}, inverses)

        theirs = of_numpyro(values)
    return float(ours), float(theirs)


@pytest.mark.parametrize("name", PRIORS)
def test_sampler_and_public_model_have_the_same_potential(name: str, faithful: bg.Table) -> None:
    rng = np.random.default_rng(1)
    for _ in range(3):
        mixture = random_mixture(rng, faithful.values, 2)
        ours, theirs = both_potentials(PRIORS[name], faithful.values, mixture)
        assert ours == pytest.approx(theirs, rel=1e-13, abs=1e-10)


@pytest.mark.parametrize(("dataset", "n_components"), [("galaxies", 3), ("iris", 3)])
def test_potentials_agree_in_one_and_in_four_dimensions(dataset: str, n_components: int) -> None:
    x = bg.datasets.load(dataset).values
    mixture = random_mixture(np.random.default_rng(2), x, n_components)
    ours, theirs = both_potentials(bg.Prior(), x, mixture)
    assert ours == pytest.approx(theirs, rel=1e-13, abs=1e-10)


def test_the_comparison_of_potentials_would_notice_another_prior(faithful: bg.Table) -> None:
    mixture = random_mixture(np.random.default_rng(1), faithful.values, 2)
    ours, _ = both_potentials(bg.Prior(), faithful.values, mixture)
    _, theirs = both_potentials(bg.Prior(correlations=dist.LKJCholesky(2, 2.001)), faithful.values, mixture)
    assert abs(ours - theirs) > 1e-6


def test_log_prior_of_the_defaults_is_the_closed_form() -> None:
    x = bg.datasets.load("galaxies").values
    mixture = bg.Mixture.from_moments([0.2, 0.8], [[10.0], [22.0]], [[[0.5]], [[4.0]]])
    with jax.enable_x64(True):
        sites = as_arrays(bg.Prior().for_data(x, 2).sites(2, 1))
        values = disassemble(mixture, sites)
        coordinates = unconstrain(sites, values)
        _, log_density = constrain(sites, coordinates)
    low, high = x.min(), x.max()
    expected = scipy.stats.dirichlet.logpdf([0.2, 0.8], [1, 1])
    expected += scipy.stats.norm.logpdf([10.0, 22.0], (low + high) / 2, (high - low) / 2).sum()
    # The coordinates are log odds, whose Jacobian is pi_1 pi_2, and log scales, which are normal.
    expected += np.log(0.2 * 0.8)
    center = np.full(2, np.log(x.std() / 10))
    expected += scipy.stats.multivariate_normal.logpdf(0.5 * np.log([0.5, 4.0]), center, np.eye(2) + 4.0)
    assert float(log_density) == pytest.approx(expected, rel=1e-12)


def test_constrain_inverts_unconstrain(faithful: bg.Table) -> None:
    mixture = random_mixture(np.random.default_rng(3), faithful.values, 3)
    with jax.enable_x64(True):
        sites = as_arrays(bg.Prior().for_data(faithful.values, 3).sites(3, 2))
        values = constrain(sites, unconstrain(sites, disassemble(mixture, sites)))[0]
        back = jax.device_get(assemble(values))
    np.testing.assert_allclose(back.weights, mixture.weights, rtol=1e-12)
    np.testing.assert_allclose(back.means, mixture.means, rtol=1e-12)
    np.testing.assert_allclose(back.scale_tril, mixture.scale_tril, rtol=1e-11, atol=1e-13)


@pytest.mark.slow
def test_what_the_prior_holds_fixed_stays_fixed(faithful: bg.Table) -> None:
    prior = bg.Prior(scales=np.array([0.4, 6.0]), weights=[0.3, 0.7])
    posterior = bg.fit_nuts(faithful, 2, prior=prior, num_samples=200, num_chains=2, progress=False)
    np.testing.assert_allclose(posterior.draws.scales, np.broadcast_to([0.4, 6.0], (2, 200, 2, 2)))
    np.testing.assert_allclose(np.sort(posterior.draws.weights, -1)[..., 0], 0.3)
    assert np.ptp(posterior.draws.means, axis=(0, 1)).min() > 0
    assert posterior.verdict.max_rhat["invariants"] < 1.05  # a constant has no R-hat and must not poison it


WRONG_PRIORS = {
    "both": (lambda: bg.Prior(scales=1.0, variances=1.0), "both scales and variances"),
    "shape of means": (lambda: bg.Prior(means=dist.Normal(np.zeros(3), 1.0)), "prior of means has shape"),
    "event of weights": (lambda: bg.Prior(weights=dist.Dirichlet(np.ones(3))), "prior of weights has shape"),
    "shape of fixed": (lambda: bg.Prior(scales=np.ones(5)), "prior of scales has shape"),
    "negative scale": (lambda: bg.Prior(scales=-1.0), "holds scales at"),
    "weights off the simplex": (lambda: bg.Prior(weights=[0.5, 0.6]), "holds weights at"),
    "text": (lambda: bg.Prior(means="wide"), "prior of means is a str"),
    "dimension of LKJ": (
        lambda: bg.Prior(correlations=dist.LKJCholesky(3, 1.0)),
        "prior of correlations has",
    ),
    "impossible correlations": (lambda: bg.Prior(correlations=1.5), "holds correlations at"),
}


@pytest.mark.parametrize("name", WRONG_PRIORS)
def test_wrong_priors_are_refused_with_words(name: str, faithful: bg.Table) -> None:
    make, found = WRONG_PRIORS[name]
    with pytest.raises(bg.ArgumentError, match=re.escape(found)):
        make().for_data(faithful.values, 2).sites(2, 2)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((None, None), "n_components=None"),
        ((None, 2), "takes its scale from data"),
    ],
)
def test_model_without_data_says_what_it_needs(arguments: tuple[None, int | None], found: str) -> None:
    with pytest.raises(bg.ArgumentError, match=re.escape(found)), numpyro.handlers.seed(rng_seed=0):
        bg.model(*arguments, n_points=10)


def test_predictive_draws_new_data_and_not_the_data(faithful: bg.Table) -> None:
    prior = bg.Prior().for_data(faithful.values, 2)
    simulate = Predictive(bg.model, num_samples=500)
    drawn = simulate(jax.random.key(0), None, 2, prior=prior, n_points=40)
    assert drawn["x"].shape == (500, 40, 2)
    # The median of x is the middle of the range; a quantile's error is .5 / sqrt(500) over its density there, of a
    # normal with an sd of at least half the range, here bounded by that of a distribution twice as wide.
    low, high = faithful.values.min(0), faithful.values.max(0)
    error = 0.5 / np.sqrt(500) * np.sqrt(2 * np.pi) * (high - low)
    assert np.all(np.abs(np.median(drawn["x"][:, 0], axis=0) - (low + high) / 2) < 4 * error)
    np.testing.assert_allclose(drawn["covariances"], np.swapaxes(drawn["covariances"], -1, -2), rtol=1e-5)


@pytest.mark.slow
def test_model_serves_plain_numpyro(faithful: bg.Table) -> None:
    mcmc = MCMC(NUTS(bg.model), num_warmup=300, num_samples=100, progress_bar=False)
    mcmc.run(jax.random.key(2), faithful.values, 2)
    samples = mcmc.get_samples()
    assert int(mcmc.get_extra_fields()["diverging"].sum()) == 0
    np.testing.assert_allclose(np.sort(samples["weights"].mean(0)), [0.357, 0.643], atol=0.03)
    pointwise = log_likelihood(bg.model, samples, faithful.values, 2)["x"]
    assert pointwise.shape == (100, 272)
    floor = bg.Prior().for_data(faithful.values, 2).sites(2, 2)["least_covariance"]
    draws = jax.device_get(
        assemble({name: jnp.asarray(value) for name, value in (samples | {"least_covariance": floor}).items()})
    )
    np.testing.assert_allclose(draws.covariances, samples["covariances"], rtol=1e-3)
    np.testing.assert_allclose(pointwise, draws.log_prob(faithful.values), atol=2e-3)  # NumPyro's are float32


@pytest.mark.slow
def test_model_serves_variational_inference(faithful: bg.Table) -> None:
    guide = autoguide.AutoNormal(bg.model)
    svi = SVI(bg.model, guide, numpyro.optim.Adam(0.05), Trace_ELBO())
    result = svi.run(jax.random.key(0), 300, faithful.values, 2, progress_bar=False)
    assert np.isfinite(result.losses).all()
    assert result.losses[-50:].mean() < result.losses[:50].mean()


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EEI", "EII"])
@pytest.mark.parametrize("n_features", [1, 2, 3, 5])
def test_the_default_prior_knows_no_order_of_the_components(n_features: int, covariance_type: str) -> None:
    x = np.random.default_rng(0).normal(size=(50, n_features))
    assert PosteriorProblem.of(x, 3, covariance_type=covariance_type, prior=None).exchangeable


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "EII"])
def test_a_prior_that_was_completed_for_a_structure_can_be_given_for_it(covariance_type: str) -> None:
    x = np.random.default_rng(0).normal(size=(50, 2))
    complete = bg.Prior().for_data(x, 3, covariance_type)
    given = PosteriorProblem.of(x, 3, covariance_type=covariance_type, prior=complete)
    assert (
        given.prior.describe()
        == PosteriorProblem.of(x, 3, covariance_type=covariance_type, prior=None).prior.describe()
    )


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (bg.Prior(correlations=dist.LKJCholesky(4, 3.0)), True),
        (bg.Prior(correlations=dist.LKJCholesky(4, np.array([3.0, 3.0, 3.0]))), True),
        (bg.Prior(correlations=dist.LKJCholesky(4, np.array([3.0, 3.0, 1.0]))), False),
        (bg.Prior(means=dist.Normal(np.zeros(4), 1.0)), True),
        (bg.Prior(means=dist.Normal(np.arange(4.0), 1.0)), True),
        (bg.Prior(means=dist.Normal(np.arange(3.0)[:, None], 1.0)), False),
        (bg.Prior(means=dist.MultivariateNormal(np.zeros(4), np.eye(4) + 0.1)), True),
        (bg.Prior(scales=dist.LogNormal(0.0, np.arange(1.0, 5.0))), True),
        (bg.Prior(scales=dist.LogNormal(np.array([[0.0], [0.0], [1.0]]), 1.0)), False),
        (bg.Prior(weights=dist.Dirichlet(np.array([1.0, 1.0, 2.0]))), False),
        (bg.Prior(weights=np.array([0.2, 0.3, 0.5])), False),
        (bg.Prior(scales=1.0), True),
    ],
)
def test_priors_that_tell_components_apart_are_recognised(prior: bg.Prior, expected: bool) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4))
    assert PosteriorProblem.of(x, 3, covariance_type="full", prior=prior).exchangeable == expected


def test_model_can_be_rendered(faithful: bg.Table) -> None:
    """What `numpyro.render_model` draws: the points depend on every parameter, inside their plates."""
    relations = get_model_relations(bg.model, model_args=(faithful.values, 2))
    assert set(relations["sample_sample"]["x"]) == {"weights", "means", "scales", "correlation_tril"}
    assert relations["observed"] == ["x"]
    assert set(relations["plate_sample"]["component"]) == {"means", "correlation_tril"}  # scales depend on one another
    assert relations["plate_sample"]["point"] == ["x"]


def test_hyperparameters_do_not_depend_on_the_number_of_components(faithful: bg.Table) -> None:
    two, five = (bg.Prior().for_data(faithful.values, K) for K in (2, 5))
    for name in ("median", "common", "own"):
        np.testing.assert_array_equal(getattr(two.scales, name), getattr(five.scales, name))
    np.testing.assert_array_equal(two.means.loc[0], five.means.loc[4])
    np.testing.assert_array_equal(two.means.scale[0], five.means.scale[4])
    np.testing.assert_array_equal(two.resolution, five.resolution)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "EEI", "EII"])
@pytest.mark.parametrize("table", [pytest.param("iris", marks=pytest.mark.slow), "continuous"])
def test_the_posterior_goes_with_shift_and_unit_of_each_column(table: str, covariance_type: str) -> None:
    """The potential changes by a constant: the volume of the map, once for each mean and each point."""
    x = bg.datasets.load("iris").values if table == "iris" else np.random.default_rng(4).normal(size=(80, 4))
    units = np.full(4, 1e-9) if covariance_type in ("spherical", "EII") else np.array([1e-9, 1e9, 1.0, -10.0])
    moved = x * units + np.array([0.0, 0.0, 1e6 * units[2], 0.0])
    some = (bg.fit_em(x, 2, covariance_type=covariance_type, seed=seed, n_starts=4) for seed in (0, 1))
    mixtures = [fit.mixture for fit in some]
    mixtures.append(bg.Mixture.from_moments([0.3, 0.7], x[:2], np.stack([np.eye(4)] * 2)))
    differences = []
    with jax.enable_x64(True):
        before, after = (
            PosteriorProblem.of(part, 2, covariance_type=covariance_type, prior=None).target() for part in (x, moved)
        )
        for one in mixtures:
            other = bg.Mixture.from_moments(
                one.weights,
                one.means * units + np.array([0.0, 0.0, 1e6 * units[2], 0.0]),
                one.covariances * np.outer(units, units),
            )
            pair = (
                float(target.potential(to_coordinates(m, target.sites)))
                for m, target in ((one, before), (other, after))
            )
            differences.append(np.subtract(*pair))
    assert np.ptp(differences) < 1e-6
    expected = -(len(x) + 2) * np.log(np.abs(units)).sum()
    assert differences[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_a_row_of_integer_weight_is_as_many_rows(covariance_type: str) -> None:
    x = bg.datasets.load("iris").values
    weights = np.repeat([2.0, 1.0, 0.0], 50)
    mixture = bg.fit_em(x, 2, covariance_type=covariance_type).mixture
    with jax.enable_x64(True):
        weighted = PosteriorProblem.of(x, 2, covariance_type=covariance_type, prior=None, sample_weight=weights)
        repeated = PosteriorProblem.of(
            np.repeat(x, weights.astype(int), axis=0), 2, covariance_type=covariance_type, prior=None
        )
        plain = PosteriorProblem.of(x, 2, covariance_type=covariance_type, prior=None)
        at = to_coordinates(mixture, weighted.target().sites)
        ours, theirs, other = (float(one.target().potential(at)) for one in (weighted, repeated, plain))
    assert ours == pytest.approx(theirs, abs=1e-10)
    assert abs(ours - other) > 1
    assert weighted.fingerprint != plain.fingerprint


def test_a_resolution_of_ones_own_is_a_floor_for_any_prior(faithful: bg.Table) -> None:
    prior = bg.Prior(scales=dist.HalfNormal(5.0), resolution=[0.5, 2.0]).for_data(faithful.values, 2)
    assert "resolution    steps of [eruptions 0.5, waiting 2]" in prior.describe(faithful.columns)
    assert "resolution    data" in bg.Prior(scales=dist.HalfNormal(1.0), resolution="data").describe()
    drawn = prior.sample(500, 2, 2, seed=0)
    assert (drawn.scales**2 > np.array([0.5, 2.0]) ** 2 / 12).all()
    for wrong in (-1.0, [1.0, 2.0, 3.0], np.nan, "fine"):
        with pytest.raises(bg.ArgumentError, match="resolution"):
            bg.Prior(resolution=wrong).for_data(faithful.values, 2).sites(2, 2)


def test_a_traced_table_needs_a_complete_prior(faithful: bg.Table) -> None:
    complete = bg.Prior().for_data(faithful.values, 2)

    def density(x: jax.Array, prior: bg.Prior | None) -> jax.Array:
        with numpyro.handlers.seed(rng_seed=0):
            trace = numpyro.handlers.trace(bg.model).get_trace(x, 2, prior=prior)
        return trace["x"]["fn"].log_prob(x).sum()

    assert np.isfinite(jax.jit(lambda x: density(x, complete))(faithful.values))
    with pytest.raises(bg.ArgumentError, match="traced by JAX"):
        jax.jit(lambda x: density(x, None))(faithful.values)
