r"""The mixture as a NumPyro model, with the labels z summed out.

.. math:: p(x_n \mid \pi, \mu, \Sigma) = \sum_k \pi_k \, N(x_n \mid \mu_k, \Sigma_k)
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import distributions as dist

from bayes_gmm.bayes.prior import Prior
from bayes_gmm.bayes.sites import Sites, assemble, degrees_sites, free, noise_sites
from bayes_gmm.core.linalg import vech
from bayes_gmm.errors import ArgumentError
from bayes_gmm.io.table import Table, as_table
from bayes_gmm.likelihood import deconvolution
from bayes_gmm.mixture.degrees_of_freedom import log_tail, refuse_errors_beside_tails, wanted_degrees
from bayes_gmm.mixture.densities import log_prob
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise, noise_box, sides_where_unseen


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
    errors: Any = None,
) -> None:
    """Mixture as a plain NumPyro model: sites weights, means, scales (or variances), correlation_tril, x.

    With noise there is a site noise_weight (1,), and weights are how the components share the rest. With t
    distributions there is a site degrees_of_freedom, (1,) or (K,), and scales and correlations are those of scatters.

    Parameters
    ----------
    x : (N, D)
        Data; None to draw `n_points` from the model. Cells that are NaN were not seen, and are integrated out.
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
    errors
        Known errors of the values of x, as in `fit_nuts`; those of a `Table` are its own.

    Notes
    -----
    The site scales is what lies above the resolution of the data (`Prior`); the deterministic site covariances is the
    whole. The sites are in the units of the data, so `SVI` is to begin in their range: give its guide
    `init_loc_fn=numpyro.infer.init_to_median`.

    Raises
    ------
    ArgumentError
        When x is None and the prior leaves something out or `n_points` or `n_components` is missing or there are noise
        or errors.

    Examples
    --------
    >>> import jax, numpyro, bayes_gmm as bg
    >>> from numpyro.infer import MCMC, NUTS
    >>> x = bg.datasets.load("faithful").values
    >>> mcmc = MCMC(NUTS(bg.model), num_warmup=500, num_samples=500, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), x, 2)  # doctest: +SKIP
    """
    prior = prior or Prior()
    rows = _rows_in_part(x, errors)
    if x is not None:
        n_points = np.shape(x)[0]
    if n_components is None or n_points is None:
        raise ArgumentError(
            f"The model has n_components={n_components}, n_points={n_points} and x={x}.",
            "n_components, and x or n_points",
            "Call model(x, n_components), or model(None, n_components, prior=prior, n_points=100) to simulate.",
        )
    box, degrees = _box(noise, x), wanted_degrees(components, degrees_of_freedom, n_components)
    if rows is not None:
        refuse_errors_beside_tails(degrees, has_errors=rows.has_errors)
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
        numpyro.sample("x", _distribution(mixture, rows), obs=x if rows is None else rows.values)


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


class _ObservedInPart(dist.Distribution):  # type: ignore[misc]
    """Rows some cells of which were not seen, or whose values have known errors, of which the density is known."""

    support = dist.constraints.real_vector

    def __init__(self, mixture: Mixture, rows: Table) -> None:
        self.mixture, self.rows = mixture, rows
        super().__init__(batch_shape=(rows.n_points,), event_shape=(rows.n_features,))

    def log_prob(self, value: Any) -> Any:
        """Log density of what was observed of each row, (N,)."""
        mixture, (values, errors) = self.mixture, self.rows.observed()
        seen, constants, log_widths = ~np.isnan(values), mixture.log_weights, None
        if mixture.noise is not None:
            constants = jnp.append(constants, mixture.noise.log_joint)
            log_widths = sides_where_unseen(mixture.noise, seen)
        triangles = vech(np.zeros((*values.shape, values.shape[1])) if errors is None else errors)
        form = deconvolution.MomentForm(constants, mixture.means, mixture.scatters)
        points = jnp.where(seen, value, 0.0).T
        given = deconvolution.condition(form, points, jnp.asarray(seen.T), jnp.asarray(triangles.T), log_widths)
        joint = given.log_joint
        if mixture.degrees_of_freedom is not None:
            squares = (given.scores * (points[None] - mixture.means[..., None])).sum(1)
            tails = log_tail(squares, mixture.degrees_of_freedom[:, None], jnp.asarray(seen.sum(1)[None]))
            joint = joint.at[: len(squares)].add(0.5 * squares + tails)
        return jax.nn.logsumexp(joint, axis=0)


def _distribution(mixture: Mixture, rows: Table | None) -> dist.Distribution:
    if rows is not None:
        return _ObservedInPart(mixture, rows)
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


def _rows_in_part(x: Any, errors: Any) -> Table | None:
    """The table of x, where a cell was not seen or values have errors; what JAX traces cannot be looked at."""
    if x is None and errors is not None:
        raise ArgumentError("There are errors and no x.", "x beside errors", "Add errors to simulated points.")
    if x is None or (errors is None and isinstance(x, jax.core.Tracer)):
        return None
    table = as_table(x if isinstance(x, Table) else _concrete(x), missing="integrate", errors=errors)
    return None if table.is_exact else table


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
