r"""A mixture of t distributions of mixtures without labels: each part orders the components in its own way.

Where the posterior has regions of different kinds, no single order suits all: beside clusters that keep their places
there are mixtures of which one component is nearly empty and may lie anywhere, and whichever it is, only an order that
puts it last lets a Gaussian describe it. So each part g has an order of its own,

.. math:: \tau_g(u) = \arg\max_\tau \sum_k \log N\big((\tau u)_k \mid m_{gk}, \mathrm{diag}(s_{gk}^2)\big), \qquad
    q(u) = \sum_g w_g \, t_g(\tau_g(u)),

with the coordinates \((\tau u)_k\) of the component in place k. Every mixture without labels has one order by each
part, so that q is its density where draws of a part that are not in that part's order are refused.

References
----------
Relabelling by the density of a reference: Stephens (2000), doi 10.1111/1467-9868.00265.
"""

from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayes_gmm.sampling.label_symmetry import Places, Symmetry, View
from bayes_gmm.sampling.t_mixture import (
    EM_STEPS,
    TMixture,
    fit_gaussians,
    nearest_seed,
    shares_of,
    standard,
    transformed,
)

MOST_PARTS = 16
"""Largest number of parts: the arrays have this length, and parts that are not used weigh nothing."""

_RELABELLED = 5
"""Steps of EM after each of which the parts order the components anew."""

_NARROWEST = 1e-6
"""Smallest width by which a place of a component is told, relative to that of all components of all points."""


class UnlabelledTMixture(NamedTuple):
    """The parts, and by which places each orders the components."""

    parts: TMixture
    places: Places

    def views(self, n_parts: int) -> View:
        """Order and metric of each of the first parts."""
        return View(Places(*(values[:n_parts] for values in self.places)), self.parts.factors[:n_parts])

    def log_density(self, coordinates: Float[Array, " P"], symmetry: Symmetry) -> Float[Array, ""]:
        """Log density of a mixture without labels, at its coordinates in any order."""
        in_places = jax.vmap(partial(symmetry.put, coordinates))
        return self.parts.log_density(in_places(jax.tree.map(jnp.asarray, self.places)))

    def sample(
        self, size: int, symmetry: Symmetry, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "size P"], Bool[np.ndarray, " size"]]:
        """Draws, and whether each is in the order of its part; the others are to be refused."""
        draws, part = self.parts.sample(size, rng)
        return draws, symmetry.in_places(draws, jax.tree.map(itemgetter(part), self.places))


def standard_unlabelled(n_coordinates: int, symmetry: Symmetry) -> UnlabelledTMixture:
    """A mixture of so many coordinates, for which programs are compiled."""
    shape = (MOST_PARTS, *symmetry.blocks(np.zeros(n_coordinates)).shape)
    return UnlabelledTMixture(standard(n_coordinates, MOST_PARTS), Places(np.zeros(shape), np.ones(shape)))


def fit_unlabelled(
    points: Float[np.ndarray, "B P"],
    factor: Float[np.ndarray, "P P"],
    n_parts: int,
    symmetry: Symmetry,
    rng: np.random.Generator,
) -> UnlabelledTMixture:
    """Mixture fitted to points by EM, where `factor` is that of a covariance which no order changes."""
    inverse, blocks = np.linalg.inv(factor), symmetry.blocks(points)

    def toward(row: int) -> Float[np.ndarray, "B P"]:
        """All points, each in the order nearest to one of them."""
        return symmetry.fold(points, inverse.T @ (inverse @ points[row]))

    def distances_from(row: int) -> Float[np.ndarray, " B"]:
        return (transformed(toward(row) - points[row], inverse) ** 2).sum(1)

    seeds, shares = nearest_seed(distances_from, len(points), n_parts, rng)
    views = np.stack([toward(row) for row in seeds])
    narrowest = _NARROWEST * blocks.std((0, 1))
    for step in range(EM_STEPS if n_parts > 1 else _RELABELLED):
        if step < _RELABELLED:
            places = _places(symmetry.blocks(views), shares, narrowest)
            views = np.stack([symmetry.put(points, Places(*one)) for one in zip(*places, strict=True)])
            unit = np.stack([transformed(view, inverse) for view in views])
        found = fit_gaussians(unit, shares)
        shares = shares_of(unit, found)
    unused = ((0, MOST_PARTS - n_parts), (0, 0), (0, 0))
    kept = Places(np.pad(places.centers, unused), np.pad(places.widths, unused, constant_values=1.0))
    return UnlabelledTMixture(found.in_coordinates(np.zeros(len(factor)), factor, MOST_PARTS), kept)


def _places(
    blocks: Float[np.ndarray, "G B K b"], shares: Float[np.ndarray, "B G"], narrowest: Float[np.ndarray, " b"]
) -> Places:
    """Means and standard deviations of the coordinates of each place, by the shares of the parts."""
    weights = shares / (shares.sum(0) + 1e-3)
    centers = np.einsum("bg,gbkc->gkc", weights, blocks)
    variances = np.einsum("bg,gbkc->gkc", weights, (blocks - centers[:, None]) ** 2)
    return Places(centers, np.maximum(np.sqrt(variances), narrowest))
