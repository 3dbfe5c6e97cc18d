r"""Coordinates in which exchanging components is a rotation, and the fold that leaves one order of each mixture.

The weights become isometric log-ratios, \(y = V^\top \log \pi\) with the columns of V orthonormal and orthogonal to
one; scales and correlations keep the unconstrained coordinates of `sites`. An order of the components then permutes
blocks of coordinates and maps y by an orthogonal matrix. Under a metric that is the same for all orders, that which is
nearest to a pivot,

.. math:: \arg\min_\tau \lVert \tau u - p \rVert_M^2 = \arg\max_\tau \langle \tau u, M^{-1} p \rangle,

is one of K! orders, found from products of blocks. A chain that is folded to it after each move is a chain on mixtures
without labels, because density and metric do not change with the order.

References
----------
Log-ratios: Egozcue et al. (2003), doi 10.1023/A:1023818214614; one region of the symmetric posterior: Stephens (2000),
doi 10.1111/1467-9868.00265.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Bool, Float, Int

from bayes_gmm.bayes.coordinates import transform_of
from bayes_gmm.bayes.sites import Sites, constrain, exchangeable, free, shape_of, unconstrain
from bayes_gmm.core.assignment import best_assignment

MOST_ORDERED = 6
"""Components up to which orders are compared."""

_SMALL = 0.05
"""Weight below which components are chosen alike to be drawn anew."""

type Coordinates = Float[Any, "*batch P"]


@dataclass(frozen=True, eq=False)
class Symmetry:
    """Which coordinates belong to which component, and the orders that leave the density unchanged.

    Attributes
    ----------
    own : (K, m)
        Places of the coordinates that belong to one component each.
    weights : (w,)
        Places of the log-ratios of the weights, empty where these are held.
    basis : (K, K - 1)
        Orthonormal V, from log-ratios to centred logarithms.
    exchangeable
        Whether any order of the components has the same density; otherwise the prior tells them apart.
    """

    own: Int[np.ndarray, "K m"]
    weights: Int[np.ndarray, " w"]
    basis: Float[np.ndarray, "K L"]
    exchangeable: bool

    @classmethod
    def of(cls, sites: Sites) -> "Symmetry":
        """Symmetry of the prior of these sites, whose coordinates are laid out as `free` orders them."""
        K = shape_of(sites["weights"])[0]
        own, start = [], 0
        for site in free(_others(sites)).values():
            size = int(np.prod(transform_of(site.support).inverse_shape(site.shape())))
            if shape_of(site)[0] == K:
                own.append(start + np.arange(size).reshape(K, -1))
            start += size
        return cls(
            own=np.concatenate([np.zeros((K, 0), int), *own], 1),
            weights=start + np.arange(K - 1 if "weights" in free(sites) else 0),
            basis=scipy.linalg.helmert(K).T if K > 1 else np.zeros((1, 0)),
            exchangeable=exchangeable(sites),
        )

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        parts = (self.own, self.weights, self.basis)
        return self.exchangeable, *((part.shape, part.tobytes()) for part in parts)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        """Equal layouts are one argument to a compiled program."""
        return isinstance(other, Symmetry) and self._key == other._key

    @property
    def log_orders(self) -> float:
        """Logarithm of the number of orders that leave the density unchanged."""
        return math.lgamma(len(self.own) + 1) if self.exchangeable else 0.0

    def blocks(self, coordinates: Coordinates) -> Float[Any, "*batch K b"]:
        """What belongs to each component: its own coordinates, and its centred log weight."""
        parts = [coordinates[..., self.own]]
        if self.weights.size:
            parts.append((coordinates[..., self.weights] @ self.basis.T)[..., None])
        return (jnp if isinstance(coordinates, jax.Array) else np).concatenate(parts, -1)

    def component(self, coordinates: Float[Array, " P"], number: Any) -> Float[Array, " c"]:
        """Own coordinates of one component, and the log odds of its weight."""
        own = coordinates[jnp.asarray(self.own)[number]]
        if not self.weights.size:
            return own
        log_weight = jax.nn.log_softmax(self.basis @ coordinates[self.weights])[number]
        return jnp.concatenate([own, (log_weight - jnp.log1p(-jnp.exp(log_weight)))[None]])

    def log_choice(self, coordinates: Float[Array, " P"]) -> Float[Array, " K"]:
        """Log probabilities of choosing each component, the more the smaller its weight; alike for held weights."""
        if not self.weights.size:
            return jnp.full(len(self.own), -np.log(len(self.own)))
        weights = jax.nn.softmax(self.basis @ coordinates[self.weights])
        return jax.nn.log_softmax(-jnp.log(weights + _SMALL))

    def with_component(self, coordinates: Float[Array, " P"], number: Any, block: Float[Array, " c"]) -> Coordinates:
        """Coordinates with another block of one component, the other weights in the same proportions.

        For weights in these proportions the density of the log odds is that of the coordinates, up to a constant.
        """
        chosen = jnp.arange(len(self.own)) == number
        own = jnp.where(chosen[:, None], block[None, : self.own.shape[1]], coordinates[self.own])
        parts = [coordinates, own.ravel()]
        if self.weights.size:
            logs = jax.nn.log_softmax(self.basis @ coordinates[self.weights])
            others = logs - jnp.log1p(-jnp.exp(logs[number])) - jax.nn.softplus(block[-1])
            parts.append(jnp.where(chosen, -jax.nn.softplus(-block[-1]), others) @ self.basis)
        return jnp.concatenate(parts)[self._sources(len(coordinates))]

    def reorder(self, coordinates: Coordinates, order: Any) -> Coordinates:
        """Coordinates of the same mixture with its components in another order, (..., K)."""
        compiled = isinstance(coordinates, jax.Array)
        blocks = _chosen(self.blocks(coordinates), order) if compiled else _taken(self.blocks(coordinates), order)
        own = blocks[..., : self.own.shape[1]]
        parts = [coordinates, own.reshape(*own.shape[:-2], -1)]
        if self.weights.size:
            parts.append(blocks[..., -1] @ self.basis)
        return (jnp if compiled else np).concatenate(parts, -1)[..., self._sources(coordinates.shape[-1])]

    def _sources(self, size: int) -> Int[np.ndarray, " P"]:
        """Where each coordinate lies behind the old ones, the own ones of all components and the log-ratios."""
        places = np.concatenate([self.own.ravel(), self.weights])
        sources = np.arange(size)
        sources[places] = size + np.arange(len(places))
        return sources

    def fold(self, coordinates: Coordinates, direction: Float[Any, " P"]) -> Coordinates:
        """Coordinates in the order with the largest inner product with a direction, M^-1 p for the pivot p."""
        return self.reorder(coordinates, self.best_order(coordinates, direction))

    def best_order(self, coordinates: Coordinates, direction: Float[Any, " P"]) -> Int[Any, "*batch K"]:
        """Order with the largest inner product with a direction."""
        return self.best(self.blocks(coordinates) @ self.blocks(direction).mT)

    def best(self, scores: Float[Any, "*batch K K"]) -> Int[Any, "*batch K"]:
        """Order with the largest sum of scores, of which row j, column k is that of component j in place k."""
        if self.exchangeable:
            return best_assignment(scores)
        return np.broadcast_to(np.arange(len(self.own)), scores.shape[:-1])

    def put(self, coordinates: Coordinates, places: "Places") -> Coordinates:
        """Coordinates of the same mixture with each component in the place that suits it best."""
        return self.reorder(coordinates, self.best(places.scores(self.blocks(coordinates))))

    def in_places(self, coordinates: Coordinates, places: "Places") -> Bool[Any, "*batch"]:
        """Whether each component is in the place that suits it best."""
        order = self.best(places.scores(self.blocks(coordinates)))
        return (order == np.arange(len(self.own))).all(-1)

    def average(self, covariance: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "P P"]:
        """Mean of a covariance over all orders, which no order changes.

        What components have in common has the covariance it had; how they differ has one covariance for all.
        """
        if not self.exchangeable:
            return covariance
        identity, K = np.eye(len(covariance)), len(self.own)
        blocks = self.blocks(identity)
        differences = blocks - blocks.mean(1, keepdims=True)
        common = identity - np.einsum("pkb,qkb->pq", differences, blocks)
        of_one = np.einsum("pkb,pq,qkc->bc", differences, covariance, differences, optimize=True) / max(K - 1, 1)
        of_all = np.einsum("pkb,bc,qkc->pq", differences, of_one, differences, optimize=True)
        return common @ covariance @ common + of_all


class Places(NamedTuple):
    """Centres and widths of the blocks of the component in each place: they tell an order of any mixture."""

    centers: Float[Any, "*batch K b"]
    widths: Float[Any, "*batch K b"]

    def scores(self, blocks: Float[Any, "*batch K b"]) -> Float[Any, "*batch K K"]:
        """Log density, up to a constant, of each component in each place, as of independent Gaussians."""
        namespace: Any = jnp if isinstance(blocks, jax.Array) else np
        centers, widths = self.centers[..., None, :, :], self.widths[..., None, :, :]
        squares = ((blocks[..., :, None, :] - centers) / widths) ** 2
        return -(0.5 * squares + namespace.log(widths)).sum(-1)


class View(NamedTuple):
    """An order of any mixture, and the factor (lower triangular) of a covariance in it: a metric."""

    places: Places
    factor: Float[Any, "*batch P P"]


def constrain_symmetric(sites: Sites, coordinates: Float[Array, " P"]) -> tuple[dict[str, Any], Float[Array, ""]]:
    """Parameters at symmetric coordinates, and their log prior density with the change of variables."""
    if "weights" not in free(sites):
        return constrain(sites, coordinates)
    K = shape_of(sites["weights"])[0]
    cut = len(coordinates) - (K - 1)
    values, log_density = constrain(_others(sites), coordinates[:cut])
    log_weights = jax.nn.log_softmax(scipy.linalg.helmert(K).T @ coordinates[cut:] if K > 1 else jnp.zeros(1))
    values["weights"] = jnp.exp(log_weights)
    # The volume of simplex for volume of log-ratios is the product of the weights times the root of K.
    volume = log_weights.sum() + 0.5 * np.log(K)
    return values, log_density + sites["weights"].log_prob(values["weights"]) + volume


def unconstrain_symmetric(sites: Sites, values: dict[str, Any]) -> Float[Array, " P"]:
    """Symmetric coordinates of the free parameters: the inverse of `constrain_symmetric`."""
    if "weights" not in free(sites):
        return unconstrain(sites, values)
    others = unconstrain(_others(sites), values) if free(_others(sites)) else jnp.zeros(0)
    K = shape_of(sites["weights"])[0]
    log_ratios = jnp.log(values["weights"]) @ scipy.linalg.helmert(K).T if K > 1 else jnp.zeros(0)
    return jnp.concatenate([others, log_ratios])


def _others(sites: Sites) -> Sites:
    """The sites without the weights; those with a distribution lie first in the coordinates."""
    return {name: site for name, site in sites.items() if name != "weights"}


def _taken(blocks: Float[np.ndarray, "*batch K b"], order: Int[np.ndarray, "*batch K"]) -> np.ndarray:
    return np.take_along_axis(blocks, order[..., None], -2)


def _chosen(blocks: Float[Array, "*batch K b"], order: Int[Array, "*batch K"]) -> Array:
    """The same by a product with zeros and ones, which is compiled several times faster."""
    return jax.nn.one_hot(order, blocks.shape[-2], dtype=blocks.dtype) @ blocks
