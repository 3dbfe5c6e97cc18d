r"""The mixture as a NumPyro model, with the labels z summed out.

.. math:: p(x_n \mid \pi, \mu, \Sigma) = \sum_k \pi_k \, N(x_n \mid \mu_k, \Sigma_k)
"""

from typing import Any

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayes_gmm.bayes.prior import Prior
from bayes_gmm.bayes.sites import Sites, assemble, free
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.rows import refuse_errors
from bayes_gmm.io.table import Table


def model(
    x: Any = None,
    n_components: int | None = None,
    *,
    covariance_type: str = "full",
    prior: Prior | None = None,
    n_points: int | None = None,
) -> None:
    """Gaussian mixture as a plain NumPyro model: sites weights, means, scales (or variances), correlation_tril, x.

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

    Notes
    -----
    The site scales is what lies above the resolution of the data (`Prior`); the deterministic site covariances is the
    whole. The sites are in the units of the data, so `SVI` is to begin in their range: give its guide
    `init_loc_fn=numpyro.infer.init_to_median`.

    Raises
    ------
    ArgumentError
        When x is None and the prior leaves something out or `n_points` or `n_components` is missing, or a cell of x was
        not seen.

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
    complete = prior if x is None or prior.is_complete else prior.for_data(_concrete(x), n_components, covariance_type)
    sites = complete.sites(n_components, complete.n_features if x is None else np.shape(x)[1], covariance_type)
    mixture = assemble(_sample(sites, n_components))
    components = dist.MultivariateNormal(mixture.means, scale_tril=mixture.scale_tril)
    numpyro.deterministic("covariances", mixture.covariances)
    with numpyro.plate("point", n_points):
        numpyro.sample("x", dist.MixtureSameFamily(dist.Categorical(logits=mixture.log_weights), components), obs=x)


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
