r"""The prior of correlation matrices under which every single correlation is uniform on (-1, 1).

With D columns it is the distribution of the correlations of an inverse Wishart matrix with D + 1 degrees of freedom,

.. math:: p(R) = \frac{\Gamma(\frac{D+1}{2})^D}{\Gamma_D(\frac{D+1}{2})} \;
          |R|^{-(D+1)} \prod_d (R^{-1})_{dd}^{-(D+1)/2},

and for D = 2 the same as LKJ(1). For more columns LKJ(1) gives each correlation a beta distribution on (-1, 1) whose
two parameters are D / 2, so that strong correlations become the less likely the more columns there are. Take this prior
where there are five columns or more, or three with correlations of 0.9.

References
----------
Barnard, McCulloch and Meng (2000), Statistica Sinica 10, 1281-1311, equation 8.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln, multigammaln
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import constraints

from bayes_gmm.core.linalg import invert_tril
from bayes_gmm.io.distribution_serialisation import can_be_saved


@can_be_saved
class MarginallyUniformCholesky(dist.Distribution):  # type: ignore[misc]
    """Cholesky factors (D, D) of correlation matrices whose every correlation is uniform on (-1, 1).

    Parameters
    ----------
    dimension
        Number D of columns, 2 or more.

    Examples
    --------
    >>> MarginallyUniformCholesky(3).event_shape
    (3, 3)
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.corr_cholesky
    pytree_aux_fields = ("dimension",)

    def __init__(self, dimension: int, *, validate_args: bool | None = None) -> None:
        self.dimension = dimension
        super().__init__(event_shape=(dimension, dimension), validate_args=validate_args)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Float[Array, "*sample D D"]:
        """Draw factors: those of inverse Wishart matrices with D + 1 degrees of freedom, rescaled."""
        D = self.dimension
        one, other = jax.random.split(key)
        # Bartlett's factor A of the Wishart matrix A A'. With the columns in reverse order the inverse of A' is lower
        # triangular again, and no matrix has to be factorised.
        squares = 2 * jax.random.gamma(one, (D + 1 - jnp.arange(D)) / 2, (*sample_shape, D))
        below = jnp.tril(jax.random.normal(other, (*sample_shape, D, D)), -1)
        bartlett = below + jnp.sqrt(squares)[..., None] * np.eye(D)
        factor = invert_tril(bartlett).mT[..., ::-1, ::-1]
        return factor / jnp.sqrt((factor**2).sum(-1, keepdims=True))

    def log_prob(self, value: Float[Any, "*batch D D"], intermediates: object = None) -> Float[Array, "*batch"]:
        """Log density of factors: that of the matrix, and the volume of the map from the factor to it."""
        D = self.dimension
        log_diagonal = jnp.log(jnp.diagonal(value, axis1=-2, axis2=-1))
        inverse_diagonal = (invert_tril(value) ** 2).sum(-2)
        volume = ((D - 1 - np.arange(D)) * log_diagonal).sum(-1)
        of_matrix = -2 * (D + 1) * log_diagonal.sum(-1) - 0.5 * (D + 1) * jnp.log(inverse_diagonal).sum(-1)
        constant = D * gammaln((D + 1) / 2) - multigammaln((D + 1) / 2, D)
        return constant + of_matrix + volume
