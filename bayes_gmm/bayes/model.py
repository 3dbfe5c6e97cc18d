r"""The mixture as a NumPyro model, with the labels z summed out.

.. math:: p(x_n \mid \pi, \mu, \Sigma) = \sum_k \pi_k \, N(x_n \mid \mu_k, \Sigma_k)
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayes_gmm.bayes.prior import Prior
from bayes_gmm.bayes.sites import Sites, assemble, degrees_sites, free, noise_sites
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.rows import refuse_errors
from bayes_gmm.io.table import Table
from bayes_gmm.mixture.degrees_of_freedom import wanted_degrees
from bayes_gmm.mixture.densities import log_prob
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise, noise_box


def model(
    x: Any = None,
    n_components: int | None = None,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    n_points: int | None = None,
    noise: Any = False,
    components: str = "gaussian",
    degrees_of_freedom: Any = None,
) -> None:
    """Mixture as a plain NumPyro model: sites weights, means, scales (or variances), correlation_tril, x.

    With noise there is a site noise_weight (1,), and weights are how the components share the rest. With t
    distributions there is a site degrees_of_freedom, (1,) or (K,), and scales and correlations are those of scatters.

    Parameters
    ----------
    x : (N, D)
        Data; None to draw `n_points` from the model.
    n_components
        Number of Gaussians.
    covariance_type
        "full", "tied", "diag", "spherical", "EEI" or "EII"; what components share is sampled once (`sites`).
    prior
        Prior in data units; what it leaves out is filled from x.
    n_points
        Number of points to draw when x is None.
    noise
        Uniform noise over a box that x tells, as in `fit_nuts`.
    components, degrees_of_freedom
        "gaussian", or "t" with "common" or "per component" degrees of freedom or values, as in `fit_nuts`.

    Notes
    -----
    The site scales is what lies above the resolution of the data (`Prior`); the deterministic site covariances is the
    whole. The sites are in the units of the data, so `SVI` is to begin in their range: give its guide
    `init_loc_fn=numpyro.infer.init_to_median`.

    Raises
    ------
    ArgumentError
        When x is None and the prior leaves something out or `n_points` or `n_components` is missing or there is noise,
        or a cell of x was not seen.

    Examples
    --------
    >>> import jax, numpyro, bayes_gmm as bg
    >>> from numpyro.infer import MCMC, NUTS
    >>> x = bg.datasets.load("faithful").values
    >>> mcmc = MCMC(NUTS(bg.model), num_warmup=500, num_samples=500, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), x, 2)  # doctest: +SKIP
    """
    prior = prior or Prior()
    if x is not None:
        _require_every_cell(x)
        n_points = np.shape(x)[0]
    if n_components is None or n_points is None:
        raise ArgumentError(
            f"The model has n_components={n_components}, n_points={n_points} and x={x}.",
            "n_components, and x or n_points",
            "Call model(x, n_components), or model(None, n_components, prior=prior, n_points=100) to simulate.",
        )
    box, degrees = _box(noise, x), wanted_degrees(components, degrees_of_freedom, n_components)
    has_prior = isinstance(degrees, str)
    if x is not None and not (prior.is_complete and box is None and not has_prior):
        values, has_box = _concrete(x), box is not None
        prior = prior.for_data(values, n_components, covariance_type, with_noise=has_box, with_tails=has_prior)
    sites = prior.sites(n_components, prior.n_features if x is None else np.shape(x)[1], covariance_type)
    if box is not None:
        sites |= noise_sites(box, prior.noise)
    if degrees is not None:
        sites |= degrees_sites(degrees, prior.degrees_of_freedom, n_components)
    mixture = assemble(_sample(sites, n_components))
    name = "covariances" if degrees is None else "scatters"
    numpyro.deterministic(name, mixture.scatters)
    with numpyro.plate("point", n_points):
        numpyro.sample("x", _distribution(mixture), obs=x)


class _Observed(dist.Distribution):  # type: ignore[misc]
    """Points of a mixture with noise or of t distributions, of which the density is known."""

    support = dist.constraints.real_vector

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        super().__init__(event_shape=(mixture.n_features,))

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> Any:
        """Draw points of t distributions; there are none of noise."""
        mixture = self.mixture
        if mixture.noise is not None:
            raise NotImplementedError("Points of a mixture with noise are only observed.")
        of_label, of_point = jax.random.split(key)
        label = jax.random.categorical(of_label, mixture.log_weights, shape=sample_shape)
        parts = mixture.degrees_of_freedom[label], mixture.means[label], mixture.scale_tril[label]
        return dist.MultivariateStudentT(*parts).sample(of_point)

    def log_prob(self, value: Any) -> Any:
        """Log density of points (..., D)."""
        points = jnp.reshape(value, (-1, self.mixture.n_features))
        return jax.vmap(partial(log_prob, self.mixture))(points).reshape(jnp.shape(value)[:-1])


def _distribution(mixture: Mixture) -> dist.Distribution:
    if mixture.noise is not None or mixture.degrees_of_freedom is not None:
        return _Observed(mixture)
    components = dist.MultivariateNormal(mixture.means, scale_tril=mixture.scale_tril)
    return dist.MixtureSameFamily(dist.Categorical(logits=mixture.log_weights), components)


def _box(noise: Any, x: Any) -> Noise | None:
    if x is None:
        if noise is not False:
            raise ArgumentError(
                "There is noise and no x, which would tell its box.", "x beside noise", "Mixture.with_noise simulates."
            )
        return None
    if noise is False:
        return None
    values = _concrete(x)
    return noise_box(noise, values, np.ones(len(values)), [f"x{j + 1}" for j in range(values.shape[1])])


def _require_every_cell(x: Any) -> None:
    """Refuse NaN, which NumPyro would make the density of, and errors; what JAX traces cannot be looked at."""
    if isinstance(x, Table):
        refuse_errors(x, "This model is that of exact rows, and those of x")
    if not isinstance(x, jax.core.Tracer) and np.isnan(np.asarray(x, dtype=np.float64)).any():
        raise ArgumentError(
            "A cell of x is NaN, and this model is that of complete rows.",
            "rows whose every cell was seen",
            "fit_nuts and fit_laplace integrate missing cells out; Posterior.impute completes tables.",
        )


def _concrete(x: Any) -> np.ndarray:
    """Data as an array of numbers, from which a prior can take its scale."""
    if isinstance(x, jax.core.Tracer):
        raise ArgumentError(
            "The prior takes its scale from data that are traced by JAX, and so not known yet.",
            "a complete prior where x is an argument of a compiled function",
            "Call prior.for_data(x, n_components) before, and give the result to the model.",
        )
    return np.asarray(x, dtype=np.float64)


def _sample(sites: Sites, n_components: int) -> dict[str, Any]:
    values = {name: site for name, site in sites.items() if name not in free(sites)}
    for name in [name for name in sites if name not in values]:
        if not sites[name].batch_shape:
            values[name] = numpyro.sample(name, sites[name])
        else:
            n_rows = sites[name].batch_shape[0]
            with numpyro.plate("component" if n_rows == n_components else "shared", n_rows):
                values[name] = numpyro.sample(name, sites[name])
    return values
