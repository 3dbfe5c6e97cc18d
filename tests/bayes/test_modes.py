"""Modes of the posterior: found, told apart, weighed, and each given its chains."""

from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats

import bayes_gmm as bg
from bayes_gmm.bayes import laplace_approximation, modes
from bayes_gmm.bayes.laplace_approximation import derivatives, laplace, potential_at
from bayes_gmm.bayes.modes import Modes, find_modes
from bayes_gmm.bayes.posterior_problem import PosteriorProblem
from bayes_gmm.bayes.target import to_coordinates

pytestmark = pytest.mark.numpyro

TYPES = ("full", "tied", "diag", "spherical", "EEI", "EII")
FEW_TYPES = [name if name in ("full", "diag") else pytest.param(name, marks=pytest.mark.slow) for name in TYPES]


def modes_of(x: np.ndarray, n_components: int, covariance_type: str = "full", prior: bg.Prior | None = None) -> Modes:
    problem = PosteriorProblem.of(x, n_components, covariance_type=covariance_type, prior=prior)
    mle = bg.fit_em(x, n_components, covariance_type=covariance_type)
    with jax.enable_x64(True):
        return find_modes(problem, problem.target(), mle)


@pytest.mark.parametrize("covariance_type", FEW_TYPES)
def test_gradient_and_hessian_by_the_chain_rule_are_those_of_autodiff(covariance_type: str, faithful: bg.Table) -> None:
    problem = PosteriorProblem.of(faithful, 2, covariance_type=covariance_type, prior=None)
    mixture = bg.fit_em(faithful, 2, covariance_type=covariance_type, max_steps=300).mixture
    with jax.enable_x64(True):
        target = problem.target()
        at = to_coordinates(mixture, target.sites) + 0.1
        value, gradient, hessian = derivatives(at, target)
        assert float(value) == pytest.approx(float(jax.jit(target.potential)(at)), rel=1e-13)
        np.testing.assert_allclose(gradient, jax.jit(jax.grad(target.potential))(at), rtol=1e-9, atol=1e-8)
        expected = jax.jit(jax.hessian(target.potential))(at)
        np.testing.assert_allclose(hessian, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("covariance_type", FEW_TYPES)
def test_at_a_mode_the_gradient_is_zero_and_the_gaussian_is_the_inverse_hessian(
    covariance_type: str, faithful: bg.Table
) -> None:
    modes = modes_of(faithful.values, 2, covariance_type)
    problem = PosteriorProblem.of(faithful, 2, covariance_type=covariance_type, prior=None)
    assert modes.trustworthy
    with jax.enable_x64(True):
        target = problem.target()
        at, factor = jax.numpy.asarray(modes.around.mode[0]), modes.around.factor[0]
        whitened = factor.T @ np.asarray(jax.jit(jax.grad(target.potential))(at))
        np.testing.assert_allclose(whitened, 0, atol=1e-5)
        identity = factor.T @ np.asarray(jax.jit(jax.hessian(target.potential))(at)) @ factor
        np.testing.assert_allclose(identity, np.eye(len(at)), atol=1e-5)


def test_mass_of_a_gaussian_posterior_is_its_evidence() -> None:
    """With K = 1, all but the mean held, the posterior is Gaussian and Laplace's approximation exact."""
    x = np.random.default_rng(0).normal(1.0, 1.0, size=(30, 1))
    prior = bg.Prior(means=dist.Normal(0.0, 2.0), scales=1.0, weights=[1.0])
    modes = modes_of(x, 1, prior=prior)
    marginal = scipy.stats.multivariate_normal(np.zeros(30), np.eye(30) + 4.0)
    assert modes.around.log_mass[0] == pytest.approx(marginal.logpdf(x[:, 0]), rel=1e-10)


def test_relabelled_optima_are_one_mode(faithful: bg.Table) -> None:
    modes = modes_of(faithful.values, 2)
    assert modes.share[0] > 0.999


@pytest.mark.parametrize(
    ("log_mass", "num_chains", "expected"),
    [
        ([0.0], 4, [0, 0, 0, 0]),
        ([0.0, 0.0], 4, [0, 0, 1, 1]),
        ([0.0, np.log(0.1)], 4, [0, 0, 0, 1]),
        ([0.0, np.log(0.01)], 4, [0, 0, 0, 0]),
        ([0.0, -0.1, -0.2, -0.3, -0.4], 4, [0, 1, 2, 3]),
        ([0.0, -0.1], 1, [0]),
        ([0.0, 0.0, -5.0], 3, [0, 0, 1]),
    ],
)
def test_each_mode_with_a_share_of_the_mass_gets_a_chain(log_mass: list, num_chains: int, expected: list) -> None:
    class Around:
        """Only the masses matter here."""

    around = Around()
    around.log_mass = np.array(log_mass)
    chains = Modes(around, None).allocate(num_chains)
    assert len(chains) == num_chains
    assert chains.tolist() == expected


def test_one_explanation_is_not_split(faithful_posterior: bg.Posterior) -> None:
    (only,) = faithful_posterior.explanations
    assert only.chains == (0, 1, 2, 3)
    assert only.log_likelihood == pytest.approx(faithful_posterior.tree["invariants"]["log_likelihood"].values.mean())


def test_a_prior_that_tells_components_apart_keeps_its_labels(faithful: bg.Table) -> None:
    """The first component is said to be the upper cluster, so the draws must not be sorted otherwise."""
    far_apart = dist.Normal(np.array([[4.5, 80.0], [2.0, 55.0]]), np.array([0.3, 3.0]))
    posterior = bg.fit_nuts(faithful, 2, prior=bg.Prior(means=far_apart), num_samples=200, progress=False)
    assert (posterior.draws.means[..., 0, 0] > posterior.draws.means[..., 1, 0]).all()
    assert any("keep its labels" in note for note in posterior.verdict.notes)
    assert (posterior.relabelling.permutations == np.arange(2)).all()


@pytest.mark.slow
def test_a_prior_without_room_for_the_optima_starts_from_its_own_draws() -> None:
    x = np.random.default_rng(0).normal(size=(100, 1))
    x[:50] += 6
    prior = bg.Prior(means=dist.Uniform(1.0, 2.0))
    posterior = bg.fit_nuts(x, 2, prior=prior, num_samples=200, progress=False)
    assert ((posterior.draws.means > 1) & (posterior.draws.means < 2)).all()


@pytest.mark.slow
def test_a_start_with_a_component_of_next_to_no_weight_leads_to_a_posterior() -> None:
    """There Newton's model of the posterior has no answer; the climb goes on, and the Laplace fit judges itself."""
    prior = bg.Prior(
        weights=dist.Dirichlet(np.full(3, 10.0)),
        means=dist.Normal(np.zeros(1), 10.0),
        variances=dist.InverseGamma(20.0, 19.0),
        correlations=0.0,
    )
    x = prior.sample(300, 3, 1, seed=11).sample(60, seed=12)[0][53]
    start = bg.fit_em(x, 3, prior=bg.ConjugatePrior())
    assert start.mixture.weights.min() < 1e-20
    fit = bg.fit_laplace(x, 3, prior=prior, start=start)
    assert np.isfinite(fit.draws.means).all()


def test_a_prior_without_density_anywhere_near_is_said() -> None:
    """Means uniform on an interval that holds no data: neither EM's optima nor any mixture near them has a density."""
    x = np.random.default_rng(0).normal(size=(30, 1))
    prior = bg.Prior(means=dist.Normal(0.0, 1.0), scales=dist.Uniform(1e-200, 1e-199))
    with pytest.raises(bg.FitError, match="no density at EM's optima"):
        bg.fit_nuts(x, 2, prior=prior, num_samples=10, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [3, 5])
def test_label_switching_is_undone_in_any_dimension(n_features: int) -> None:
    """Clusters that overlap so much that chains change labels: relabelled draws keep each component to itself."""
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(30, n_features)) + shift for shift in (0.0, 1.2)])
    posterior = bg.fit_nuts(x, 2, num_samples=300, progress=False)
    assert posterior.problem.exchangeable
    assert (posterior.relabelling.permutations == [1, 0]).all(-1).any()
    assert not any("tells the components apart" in note for note in posterior.verdict.notes)


def test_of_many_starts_the_most_probable_are_followed_best_first() -> None:
    """The cheap look at all of them tells what the curvature of each would have told."""
    x = bg.datasets.load("galaxies").values
    problem = PosteriorProblem.of(x, 3, covariance_type="full", prior=None)
    mixtures = problem.sample_prior(20, seed=4)
    with jax.enable_x64(True):
        target = problem.target()
        starts = [to_coordinates(jax.tree.map(lambda leaf, m=m: leaf[m], mixtures), target.sites) for m in range(20)]
        heights = [float(laplace(start, target, 1).potential) for start in starts]
        assert [potential_at(start, target) for start in starts] == heights
        followed = modes._coordinates(modes._each(mixtures), target)
        best = np.argsort(heights)[: modes._MOST_STARTS]
    assert 1 < len(followed) <= modes._MOST_STARTS
    places = [next(m for m in range(20) if np.array_equal(start, starts[m])) for start in followed]
    assert places == [m for m in best if m in places]
    assert places[0] == np.argmin(heights)


def test_searches_that_are_given_up_lead_to_no_mode_with_mass(monkeypatch: pytest.MonkeyPatch) -> None:
    x = bg.datasets.load("penguins").values
    x = x[~np.isnan(x).any(1)]
    mle, problem = bg.fit_em(x, 3), PosteriorProblem.of(x, 3, covariance_type="full", prior=None)
    search, n_looks = modes.laplace, 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal n_looks
        n_looks += 1
        return derivatives(*arguments, **options)

    monkeypatch.setattr(laplace_approximation, "derivatives", counted)
    with jax.enable_x64(True):
        target = problem.target()
        found = find_modes(problem, target, mle)
        of_found, n_looks = n_looks, 0
        monkeypatch.setattr(modes, "laplace", lambda start, target, most_steps, *_: search(start, target, most_steps))
        patient = find_modes(problem, target, mle)
    np.testing.assert_array_equal(found.around.mode, patient.around.mode)
    assert of_found < n_looks


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_counts_newtons_steps(
    progress: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    x = bg.datasets.load("faithful")
    problem = PosteriorProblem.of(x, 2, covariance_type="full", prior=None)
    monkeypatch.setattr(modes, "_MOMENT", 0.0)
    with jax.enable_x64(True):
        find_modes(problem, problem.target(), bg.fit_em(x, 2), progress=progress)
    shown = capsys.readouterr().err
    assert ("modes" in shown and "Newton steps" in shown) == progress
    assert bool(shown) == progress
