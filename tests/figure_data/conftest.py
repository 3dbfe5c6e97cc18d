"""Posteriors put together from draws without sampling, and a fit from a mixture without EM."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

import bayes_gmm as bg
from bayes_gmm.mixture.scaling import Scaling

type PosteriorOf = Callable[..., bg.Posterior]


@pytest.fixture(scope="session")
def posterior_of() -> PosteriorOf:
    """A posterior with given draws (chain, draw), of a table; it has no more than figures need."""

    def build(draws: bg.Mixture, table: bg.Table, *, tree: object = None, n_explanations: int = 1) -> bg.Posterior:
        weights = np.ones(table.n_points)
        scaling = Scaling.whitening(table.values, weights)
        posterior = object.__new__(bg.Posterior)
        problem, explanations = (
            SimpleNamespace(table=table, scaling=scaling, row_weights=weights),
            (None,) * n_explanations,
        )
        vars(posterior).update(draws=draws, problem=problem, tree=tree, explanations=explanations)
        return posterior

    return build


def draws_around(mixture: bg.Mixture, n_chains: int = 2, n_draws: int = 50, spread: float = 0.1) -> bg.Mixture:
    """Draws (chain, draw) around a mixture, with a relative spread."""
    rng, K, D = np.random.default_rng(0), mixture.n_components, mixture.n_features
    shape = (n_chains, n_draws)
    return bg.Mixture.from_moments(
        rng.dirichlet(np.asarray(mixture.weights) / spread**2, shape),
        mixture.means + spread * mixture.scales * rng.normal(size=(*shape, K, D)),
        np.asarray(mixture.covariances) * np.exp(spread * rng.normal(size=(*shape, K, 1, 1))),
    )


@pytest.fixture(scope="session")
def two_features() -> bg.Mixture:
    """Two components that overlap, of different shapes."""
    covariances = [[[1.0, 0.6], [0.6, 2.0]], [[0.5, 0.0], [0.0, 0.5]]]
    return bg.Mixture.from_moments([0.3, 0.7], [[0.0, 0.0], [2.0, 3.0]], covariances)


@pytest.fixture(scope="session")
def table(two_features: bg.Mixture) -> bg.Table:
    return bg.Table(two_features.sample(200, seed=1)[0], ("height", "mass"), units=("m", "kg"), name="pairs")


@pytest.fixture(scope="session")
def posterior(posterior_of: PosteriorOf, two_features: bg.Mixture, table: bg.Table) -> bg.Posterior:
    return posterior_of(draws_around(two_features), table)


@pytest.fixture(scope="session")
def fit(two_features: bg.Mixture, table: bg.Table) -> bg.EMFit:
    """What a figure needs of a fit."""
    found = object.__new__(bg.EMFit)
    vars(found).update(mixture=two_features, problem=SimpleNamespace(table=table))
    return found


@pytest.fixture(scope="session")
def large_posterior(posterior_of: PosteriorOf, two_features: bg.Mixture) -> bg.Posterior:
    """500 draws at more points than a figure shows."""
    values = two_features.sample(20_050, seed=1)[0]
    return posterior_of(draws_around(two_features, n_draws=250), bg.Table(values, ("height", "mass"), name="large"))
