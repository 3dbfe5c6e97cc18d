"""The posterior density on unconstrained coordinates: what is sampled, and the way from there to mixtures and back."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.bayes.sites import Sites, assemble, constrain, coordinate_shapes, disassemble, shape_of, unconstrain
from bayes_gmm.core.compilation import Programs
from bayes_gmm.core.tuning import TUNING
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling

_TAILS = 1.05, 1e3
"""Degrees of freedom between which those of a mixture become coordinates."""


class Target(NamedTuple):
    """All that the posterior density depends on: prior sites, data in unit coordinates, and the map to these."""

    sites: Sites
    data: Likelihood
    scaling: Scaling

    def potential(
        self, coordinates: Float[Array, " P"], factors: Float[Array, "C D D"] | None = None
    ) -> Float[Array, ""]:
        """Minus the log posterior density of `model`, whose gradient takes one pass over the data.

        Where there are factors, coordinates of covariances are relative to them (`constrain`).
        """
        eta, log_prior = self.natural_parameters(coordinates, factors)
        return -(log_prior + self.data.log_likelihood(eta) - self.log_volume)

    def natural_parameters(
        self, coordinates: Float[Array, " P"], factors: Float[Array, "C D D"] | None = None
    ) -> tuple[Any, Float[Array, ""]]:
        """Natural parameters in unit coordinates and the log prior density, for which no data are needed."""
        values, log_prior = constrain(self.sites, coordinates, factors)
        return self.data.natural(self.scaling.to_unit(assemble(values))), log_prior

    @property
    def coordinate_sizes(self) -> Float[np.ndarray, " P"]:
        """Sizes of changes of the coordinates: of means standard deviations of the columns, of all others one."""
        columns = np.sqrt((np.asarray(self.scaling.factor) ** 2).sum(1))
        shapes = coordinate_shapes(self.sites).items()
        return np.concatenate(
            [np.broadcast_to(columns if name == "means" else 1.0, shape).ravel() for name, shape in shapes]
        )

    @property
    def shape_of_natural_parameters(self) -> tuple[int, int]:
        """Numbers of components, noise among them, and of sufficient statistics."""
        n_rows = shape_of(self.sites["weights"])[-1] + ("noise_weight" in self.sites)
        return n_rows, self.data.n_statistics

    @property
    def log_volume(self) -> Float[Any, ""]:
        """Difference of the log-likelihood in unit coordinates and in data units."""
        return self.data.log_volume(self.scaling)


@jax.jit
def to_coordinates(mixture: Mixture, sites: Sites) -> Float[Array, " P"]:
    """Unconstrained coordinates of the free parameters of one mixture; not finite outside the prior's support.

    Degrees of freedom at which a search for the likelihood's maximum ended, at a bound, are brought to where the prior
    has some mass.
    """
    values = disassemble(mixture, sites)
    if "degrees_of_freedom" in values:
        values["degrees_of_freedom"] = jnp.clip(values["degrees_of_freedom"], *_TAILS)
    return unconstrain(sites, values)


def coordinate_programs(mixture: Mixture, target: Target) -> Programs:
    """What compiles `to_coordinates` and `to_mixtures`, for arguments of these shapes."""
    coordinates = to_coordinates.eval_shape(mixture, target.sites)
    rows = jax.ShapeDtypeStruct((TUNING.draws_of_a_program, *coordinates.shape), coordinates.dtype)
    yield lambda: to_coordinates.lower(mixture, target.sites).compile()
    yield lambda: _to_mixtures.lower(rows, target.sites).compile()


def to_mixtures(coordinates: Float[Any, "*batch P"], sites: Sites) -> tuple[Mixture, Float[np.ndarray, "*batch"]]:
    """Mixtures in data units at unconstrained coordinates, and their log prior densities; in a scoped float64."""
    batch = coordinates.shape[:-1]
    rows = np.reshape(coordinates, (-1, coordinates.shape[-1]))
    padded = np.pad(rows, ((0, -len(rows) % TUNING.draws_of_a_program), (0, 0)), mode="edge")
    parts = [
        jax.device_get(_to_mixtures(part, sites)) for part in np.split(padded, len(padded) // TUNING.draws_of_a_program)
    ]
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(rows)], *parts)
    return jax.tree.map(lambda leaf: np.reshape(leaf, (*batch, *leaf.shape[1:])), whole)


@jax.jit
def _to_mixtures(coordinates: Float[Array, "S P"], sites: Sites) -> tuple[Mixture, Float[Array, " S"]]:
    def one(part: Array) -> tuple[Mixture, Array]:
        values, log_prior = constrain(sites, part)
        return assemble(values), log_prior

    return jax.vmap(one)(coordinates)
