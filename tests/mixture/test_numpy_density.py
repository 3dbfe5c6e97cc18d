"""The log joint density in NumPy is that of SciPy, and that of `Mixture.log_joint`."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.numpy_density import log_joint


def random_mixtures(batch: tuple[int, ...], K: int, D: int) -> Mixture:
    rng = np.random.default_rng(K + D)
    roots = rng.normal(size=(*batch, K, D, D + 2))
    return Mixture.from_moments(rng.dirichlet(np.ones(K), batch), rng.normal(size=(*batch, K, D)), roots @ roots.mT)


@pytest.mark.parametrize(("batch", "K", "D"), [((), 2, 1), ((5,), 3, 2), ((2, 3), 2, 4)])
def test_it_is_the_density_of_scipy_and_of_the_mixture(batch: tuple[int, ...], K: int, D: int) -> None:
    mixtures, x = random_mixtures(batch, K, D), np.random.default_rng(0).normal(size=(6, D))
    found = log_joint(mixtures, x)
    assert found.shape == (*batch, 6, K)
    np.testing.assert_allclose(found, mixtures.log_joint(x), rtol=1e-12, atol=1e-12)
    for place in np.ndindex(*batch):
        for k in range(K):
            normal = multivariate_normal(mixtures.means[(*place, k)], mixtures.covariances[(*place, k)])
            expected = mixtures.log_weights[(*place, k)] + normal.logpdf(x)
            np.testing.assert_allclose(found[(*place, slice(None), k)], expected, rtol=1e-10, atol=1e-10)
