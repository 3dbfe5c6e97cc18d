r"""Log-normal standard deviations that share a level: the prior of the scales, the same for every number of components.

For component k and column d, with the median m_d of every scale,

.. math:: \log \sigma_{kd} = \log m_d + \psi a_d + \omega b_{kd}, \qquad a_d, b_{kd} \sim N(0, 1),

so what is learned of one component's scale tells something of the next one's. The level a_d is integrated out: with
z_k = log(sigma_kd / m_d) and their mean over C components, the density of column d is

.. math:: \log p = -\frac{\sum_k (z_k - \bar z)^2}{2 \omega^2} - \frac{C \bar z^2}{2 (\omega^2 + C \psi^2)}
          - (C - 1) \log \omega - \tfrac12 \log(\omega^2 + C \psi^2) - \tfrac{C}{2} \log 2 \pi
          - \sum_k \log \sigma_{kd},

a normal of variance omega^2 + psi^2 and covariance psi^2. There is no further parameter to sample, and leaving out
components leaves a density of the same form with the same numbers, so no hyperparameter depends on K.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import constraints

from bayes_gmm.core.linalg import LOG_2PI
from bayes_gmm.io.distribution_serialisation import can_be_saved


@can_be_saved
class ExchangeableLogNormal(dist.Distribution):  # type: ignore[misc]
    r"""Scales (C, F) of C components in F columns, exchangeable over components and independent over columns.

    Parameters
    ----------
    n_components
        Number C of components that have scales of their own.
    median : (F,)
        Median of the scales of each column, in the units of the data.
    common
        Standard deviation psi of the logarithm of the level that all components share.
    own
        Standard deviation omega of the logarithms of the components' scales about that level.

    Examples
    --------
    >>> import numpy as np
    >>> prior = ExchangeableLogNormal(3, np.array([0.1, 2.0]), common=2.0, own=1.0)
    >>> prior.event_shape
    (3, 2)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "median": constraints.independent(constraints.positive, 1),
        "common": constraints.positive,
        "own": constraints.positive,
    }
    support = constraints.independent(constraints.positive, 2)
    reparametrized_params = ("median", "common", "own")
    pytree_data_fields = ("median", "common", "own")
    pytree_aux_fields = ("n_components",)

    def __init__(
        self,
        n_components: int,
        median: Any,
        common: Any = 2.0,
        own: Any = 1.0,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.n_components, self.median, self.common, self.own = n_components, median, common, own
        super().__init__(event_shape=(n_components, *jnp.shape(median)), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample C F"]:
        """Draw scales."""
        one, other = jax.random.split(key)
        C, F = self.event_shape
        level = self.common * jax.random.normal(one, (*sample_shape, 1, F))
        return self.median * jnp.exp(level + self.own * jax.random.normal(other, (*sample_shape, C, F)))

    def log_prob(self, value: Float[Any, "*batch C F"], intermediates: Any = None) -> Float[Array, "*batch"]:
        """Log density of scales, summed over components and columns."""
        C, F = self.event_shape
        logarithms = jnp.log(value)
        offsets = logarithms - jnp.log(self.median)
        mean, within = offsets.mean(-2), self.own**2
        of_mean = within + C * self.common**2
        quadratic = ((offsets - mean[..., None, :]) ** 2).sum((-2, -1)) / within + C * (mean**2).sum(-1) / of_mean
        normalisation = (C - 1) * jnp.log(within) + jnp.log(of_mean) + C * LOG_2PI
        return -0.5 * (quadratic + F * normalisation) - logarithms.sum((-2, -1))
