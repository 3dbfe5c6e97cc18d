"""The gamma distribution above a least value: the prior of degrees of freedom."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import constraints

from bayes_gmm.io.distribution_serialisation import can_be_saved


@can_be_saved
class ShiftedGamma(dist.Distribution):  # type: ignore[misc]
    r"""A number of which what it has above `least` is gamma distributed.

    .. math:: p(\nu) = \frac{b^a}{\Gamma(a)} (\nu - l)^{a - 1} e^{-b (\nu - l)}, \quad \nu > l

    Parameters
    ----------
    concentration, rate
        Parameters a and b of the gamma distribution.
    least
        The least value l.

    Examples
    --------
    >>> round(float(ShiftedGamma(2.0, 0.1, 1.0).mean), 6)
    21.0
    """

    arg_constraints: ClassVar[dict[str, Any]] = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
        "least": constraints.real,
    }
    reparametrized_params = ("concentration", "rate", "least")
    pytree_data_fields = ("concentration", "rate", "least")

    def __init__(self, concentration: Any, rate: Any, least: Any, *, validate_args: bool | None = None) -> None:
        self.concentration, self.rate, self.least = concentration, rate, least
        super().__init__(batch_shape=jnp.shape(concentration), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)  # type: ignore[untyped-decorator]
    def support(self) -> Any:
        """All numbers above the least."""
        return constraints.greater_than(self.least)

    @property
    def mean(self) -> Any:
        """Mean."""
        return self.least + self.concentration / self.rate

    @property
    def variance(self) -> Any:
        """Variance."""
        return self.concentration / self.rate**2

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Draw numbers."""
        return self.least + jax.random.gamma(key, self.concentration, sample_shape + self.batch_shape) / self.rate

    def log_prob(self, value: Any, intermediates: Any = None) -> Float[Array, "..."]:
        """Log density; minus infinity at the least value and below."""
        above = jnp.asarray(value) - self.least
        inside = above > 0
        safe, a = jnp.where(inside, above, 1.0), self.concentration
        density = a * jnp.log(self.rate) - gammaln(a) + (a - 1) * jnp.log(safe) - self.rate * safe
        return jnp.where(inside, density, -jnp.inf)
