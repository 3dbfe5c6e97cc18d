r"""The prior as compiled programs take it: in few operations, with numbers as arguments in a fixed order.

A compiler's time goes with the number of operations, and two things would make most of them. Dirichlet and LKJ
distributions are handed their normaliser, which depends on hyperparameters alone, for gamma functions are long:

.. math:: \log p(\pi) = \sum_k (\alpha_k - 1) \log \pi_k - \log B(\alpha), \qquad
          \log p(L) = \sum_d (2 \eta - 2 + D - d) \log L_{dd} - \log c_D(\eta).

References
----------
Lewandowski, Kurowicka and Joe (2009), doi 10.1016/j.jmva.2009.04.008.
"""

from collections.abc import Iterator
from functools import cached_property
from math import lgamma
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro import distributions as dist

_log_gamma = np.vectorize(lgamma, otypes=[float])


def as_arrays(sites: dict[str, Any]) -> "OrderedSites":
    """Sites whose hyperparameters are all float arrays, so that new values need no new compilation."""
    known = {name: with_known_normaliser(site) for name, site in sites.items()}
    return OrderedSites(jax.tree.map(_float_array, known))


def _float_array(leaf: Any) -> Array:
    return jnp.asarray(np.asarray(leaf, float))  # NumPy converts without compiling anything


@jax.tree_util.register_pytree_node_class
class OrderedSites(dict[str, Any]):
    """Sites whose hyperparameters are handed to compiled programs in the order of their names.

    NumPyro flattens a distribution in the order of a set of names, which differs from process to process, so that
    programs kept on disk would not be found again. The order is worked out once and kept, because every call of a
    compiled program flattens its arguments.
    """

    def tree_flatten(self) -> tuple[list[Any], Any]:
        """Hyperparameters, and the structure that puts them back into their distributions."""
        return self._flat

    @cached_property
    def _flat(self) -> tuple[list[Any], Any]:
        leaves, structure = jax.tree.flatten(dict(self))
        slots = jax.tree.unflatten(structure, map(_Slot, range(len(leaves))))
        order = list(dict.fromkeys([*_by_name(slots), *range(len(leaves))]))
        return [leaves[number] for number in order], (structure, tuple(order))

    @classmethod
    def tree_unflatten(cls, shape: Any, leaves: Any) -> "OrderedSites":
        """The inverse of `tree_flatten`."""
        structure, order = shape
        places = dict(zip(order, leaves, strict=True))
        return cls(jax.tree.unflatten(structure, [places[number] for number in range(len(places))]))


class _Slot(NamedTuple):
    number: int


def _by_name(part: Any) -> Iterator[int]:
    """Numbers of the slots in a nest of dictionaries, sequences and objects, ordered by the names on their path."""
    if isinstance(part, _Slot):
        yield part.number
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _by_name(item)
    else:
        named = part if isinstance(part, dict) else getattr(part, "__dict__", {})
        for name in sorted(named, key=str):
            yield from _by_name(named[name])


def with_known_normaliser(distribution: Any) -> Any:
    """The same distribution with a density that has the value of its normaliser, where there is such a one."""
    if type(distribution) is dist.ExpandedDistribution:
        inner = with_known_normaliser(distribution.base_dist)
        same = inner is distribution.base_dist
        return distribution if same else dist.ExpandedDistribution(inner, distribution.batch_shape)
    if type(distribution) is dist.Dirichlet:
        return Dirichlet.of(distribution)
    if type(distribution) is dist.LKJCholesky:
        return LKJCholesky.of(distribution)
    return distribution


def draw(distribution: Any, rng: np.random.Generator, size: int) -> Float[np.ndarray, "size ..."] | None:
    """Draws of those whose draws need gamma distributions, which compile slowly, in NumPy; None of all others."""
    if type(distribution) is dist.ExpandedDistribution:
        draws = draw(distribution.base_dist, rng, size * int(np.prod(distribution.batch_shape)))
        return None if draws is None else draws.reshape(size, *distribution.shape())
    known = isinstance(distribution, Dirichlet | LKJCholesky) and not distribution.batch_shape
    return distribution.draw(rng, size) if known else None


class Dirichlet(dist.Dirichlet):  # type: ignore[misc]
    """Dirichlet distribution that has its normaliser."""

    pytree_data_fields = ("log_normaliser",)

    @classmethod
    def of(cls, plain: Any) -> "Dirichlet":
        """The same distribution."""
        concentration = np.asarray(plain.concentration, float)
        found = cls(plain.concentration)
        found.log_normaliser = _log_gamma(concentration).sum(-1) - _log_gamma(concentration.sum(-1))
        return found

    def log_prob(self, value: Float[Any, "*batch K"], intermediates: Any = None) -> Float[Array, "..."]:
        """Log density of weights."""
        return ((self.concentration - 1) * jnp.log(value)).sum(-1) - self.log_normaliser

    def draw(self, rng: np.random.Generator, size: int) -> Float[np.ndarray, "size K"]:
        """Draws by NumPy."""
        smallest = np.finfo(float).tiny
        return np.clip(rng.dirichlet(np.asarray(self.concentration), size), smallest, 1.0)


class LKJCholesky(dist.LKJCholesky):  # type: ignore[misc]
    """LKJ distribution of Cholesky factors that has its normaliser."""

    pytree_data_fields = ("log_normaliser",)

    @classmethod
    def of(cls, plain: Any) -> "LKJCholesky":
        """The same distribution."""
        found = cls.__new__(cls)
        found.__dict__.update(plain.__dict__)  # calling the class would compile what it draws with
        D, eta = plain.dimension, np.asarray(plain.concentration, float)
        # The density of a row is a power of what its entries before the diagonal leave, over their unit ball.
        before = np.arange(1, D)
        half_power = eta[..., None] - 1 + 0.5 * (D - 1 - before)
        log_volumes = 0.5 * before * np.log(np.pi) - _log_gamma(half_power + 0.5 * before + 1)
        found.log_normaliser = (log_volumes + _log_gamma(half_power + 1)).sum(-1)
        return found

    def draw(self, rng: np.random.Generator, size: int) -> Float[np.ndarray, "size D D"]:
        """Draws by NumPy, row by row: a radius whose square has a beta distribution, and a direction."""
        D, factors = self.dimension, np.zeros((size, self.dimension, self.dimension))
        factors[:, 0, 0] = 1.0
        for before in range(1, D):
            squares = rng.beta(0.5 * before, np.asarray(self.concentration) + 0.5 * (D - 1 - before), size)
            direction = rng.standard_normal((size, before))
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
            factors[:, before, :before] = np.sqrt(squares)[:, None] * direction
            factors[:, before, before] = np.sqrt(1 - squares)
        return factors

    def log_prob(self, value: Float[Any, "*batch D D"], intermediates: Any = None) -> Float[Array, "..."]:
        """Log density of Cholesky factors."""
        powers = 2 * (jnp.asarray(self.concentration)[..., None] - 1) + (self.dimension - 1 - np.arange(self.dimension))
        identity = np.broadcast_to(np.eye(self.dimension), value.shape)
        log_diagonal = jnp.log((value * identity).sum(-1))  # whose derivative, unlike that of entries, scatters nothing
        return (powers * log_diagonal).sum(-1) - self.log_normaliser
