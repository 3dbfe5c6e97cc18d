r"""The likelihood of rows with gaps: cells that were not seen, missing at random, are integrated out.

With the seen cells o of a row and the missing ones m, a component's complete rows have the log joint density
eta' phi(x) = c + h' x - x' P x / 2, and the integral over x_m is again linear in the features of x_o:

.. math:: P_o = P_{oo} - P_{om} P_{mm}^{-1} P_{mo}, \qquad h_o = h_o - P_{om} P_{mm}^{-1} h_m, \qquad
          c_o = c + \tfrac12 h_m^\top P_{mm}^{-1} h_m - \tfrac12 \log |P_{mm}| + \tfrac{|m|}{2} \log 2 \pi.

Rows with the same gaps and the same known label form a group. Each group has natural parameters of its own, with zeros
at the features of missing cells and cells of zero in their place, so that one compiled pass of the likelihood of
complete rows serves all groups. What a group's statistics say of complete rows is the transpose of the derivative of
the map above (Fisher's identity): E[x_m | x_o] and E[x_m x_m' | x_o] never have to be written down. A known label
forbids the other components.
Noise has no precision that could be eliminated from: its density rises by the volume of the sides not seen.

The seen cells of a t distributed row are t distributed with the same degrees of freedom: what completes the square goes
to the rate b of `heavy_tails` in place of the constant, and its shape c loses half a number for each missing cell,

.. math:: b_o = b + \tfrac{|m|}{2} - \tfrac12 h_m^\top P_{mm}^{-1} h_m, \qquad c_o = c - \tfrac{|m|}{2}, \qquad
          a_o = a - \tfrac12 \log |P_{mm}| + \tfrac{|m|}{2} (1 + \log 2 \pi) + B(c_o) - B(c)
          - \tfrac12 \log \frac{c_o}{c},

with Binet's function B; the derivative of a_o is what the missing cells leave open of the logarithm of the precision.

References
----------
Ghahramani and Jordan (1994), Supervised learning from incomplete data via an EM approach, NIPS 6, 120-127; missing at
random: Rubin (1976), doi 10.1093/biomet/63.3.581; Little and Rubin (2019), doi 10.1002/9781119482260, chapter 11.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Float64, Int

from bayes_gmm.core.linalg import LOG_2PI, unvech, vech
from bayes_gmm.likelihood.blocks import grouped
from bayes_gmm.likelihood.complete_rows import CompleteRows
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.deconvolution import MOST_ROUNDING
from bayes_gmm.likelihood.heavy_tails import HeavyTailedRows
from bayes_gmm.likelihood.linear_form import Assignment, Expectation, Natural, soft
from bayes_gmm.likelihood.moments import Moments, n_statistics
from bayes_gmm.mixture.degrees_of_freedom import binet
from bayes_gmm.mixture.gaps import group_by_gaps
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.noise import Noise, unseen_volume
from bayes_gmm.mixture.scaling import Scaling


@jax.tree_util.register_dataclass
@dataclass(frozen=True, kw_only=True, eq=False)
class RowsWithGaps(Likelihood):
    """Rows some cells of which were not seen, sorted into groups with the same gaps and the same known label.

    Attributes
    ----------
    blocks
        The rows in unit coordinates, zero where a cell is missing; no block holds rows of two groups. They are complete
        rows of Gaussians or of t distributions.
    places : (N,)
        Where each row of the table stands in the blocks; -1 for a row that says nothing.
    starts, stops : (G,)
        First block of each group, and the one after its last.
    seen : (G, D)
        Which cells of a group's rows were seen.
    labels : (G,)
        Known component of a group's rows, -1 where it is not known.
    log_widths : (D,)
        Where there is noise, logarithms of the sides of its box, else None.
    """

    # Shapes are stated and not checked: JAX rebuilds the class with tracers and placeholders.
    blocks: CompleteRows
    places: Annotated[Any, "N"]
    starts: Annotated[Any, "G"]
    stops: Annotated[Any, "G"]
    seen: Annotated[Any, "G D"]
    labels: Annotated[Any, "G"]
    log_widths: Annotated[Any, "D; None without noise"] = None

    @property
    def n_features(self) -> int:
        """D, the number of columns of the table."""
        return int(self.seen.shape[1])

    @property
    def total_weight(self) -> Any:
        """Sum of the weights of the rows."""
        return self.blocks.weights.sum()

    @property
    def n_statistics(self) -> int:
        """As many as complete rows have."""
        return self.blocks.n_statistics

    def natural(self, mixture: Mixture) -> Float[Array | np.ndarray, "*batch K F"]:
        """Those of complete rows."""
        return self.blocks.natural(mixture)

    def moments(self, statistics: Float[Array | np.ndarray, "*batch K F"]) -> Moments:
        """Those of complete rows."""
        return self.blocks.moments(statistics)

    def mean_weights(self, statistics: Float[Array | np.ndarray, "*batch K F"]) -> Any:
        """Those of complete rows."""
        return self.blocks.mean_weights(statistics)

    def statistics(self, moments: Moments) -> Float[np.ndarray, "*batch K F"]:
        """Those of complete rows."""
        return self.blocks.statistics(moments)

    def log_volume(self, scaling: Scaling) -> Any:
        """The weight of the seen cells of each column times the logarithm of its unit."""
        numbers = np.arange(len(self.blocks.weights))[None]
        own = (numbers >= self.starts[:, None]) & (numbers < self.stops[:, None])
        of_columns = (own @ self.blocks.weights.sum(1)) @ self.seen
        return of_columns @ jnp.log(jnp.diagonal(scaling.factor))

    def expected_statistics(self, eta: Natural, assignment: Assignment = soft) -> Expectation:
        """E-step, in one pass over the seen cells."""
        of_groups, complete = jax.vjp(self._seen_natural, eta)
        values, statistics = self._pass(of_groups, assignment)
        return Expectation(values.sum(), *complete(statistics))

    def log_likelihood(self, eta: Natural) -> Float64[Array, ""]:
        """Marginal log-likelihood of the seen cells, whose gradient costs no second pass."""
        return _log_likelihood(self._seen_natural(eta), self)

    def curvature(self, eta: Natural) -> Float64[Array, "K F K F"]:
        """Hessian of the log-likelihood: that of each group's seen cells, and the curvature of the map to them."""
        of_groups = self._seen_natural(eta)
        statistics = self._pass(of_groups, soft)[1]
        n_gaussians = len(eta) - (self.log_widths is not None)
        every = jax.vmap(jax.hessian(_weighted_integrals), (0, None, 1))
        own = every(eta[:n_gaussians], self.seen, statistics[:, :n_gaussians])
        own = jnp.pad(own, ((0, len(eta) - n_gaussians), (0, 0), (0, 0)))
        within = jnp.eye(len(eta))[:, None, :, None] * own[:, :, None, :]
        return within + self._sum_of_groups(eta, lambda theirs, rows: rows.curvature(theirs))

    def score_products(self, eta: Natural) -> Float64[Array, "KF KF"]:
        """Sum of the weighted products of the scores of the rows."""
        shape = (*eta.shape, *eta.shape)
        total = self._sum_of_groups(eta, lambda theirs, rows: rows.score_products(theirs).reshape(shape))
        return total.reshape(eta.size, eta.size)

    def milliseconds(self, n_components: int) -> float:
        """Rough time of a pass over the rows on one core."""
        return self.blocks.milliseconds(n_components)

    def parts(self, count: int) -> "list[RowsWithGaps]":
        """These rows in `count` parts, or in as many as there are blocks if these are fewer."""
        return [replace(self, blocks=part) for part in self.blocks.parts(count)]

    def unvisited(self) -> "RowsWithGaps":
        """The same arrays, no block of which is visited."""
        return replace(self, blocks=replace(self.blocks, stop=self.blocks.first))

    def in_blocks(self, row_weights: Float[np.ndarray, "R N"]) -> Float[np.ndarray, "R *blocks"]:
        """Other weights of the rows (R, N), laid out as the blocks are (R, M, B)."""
        places = np.asarray(self.places)
        laid_out = np.zeros((len(row_weights), self.blocks.weights.size))
        laid_out[:, places[places >= 0]] = row_weights[:, places >= 0]
        return laid_out.reshape(-1, *self.blocks.weights.shape)

    def with_weights(self, weights: Float[Array, "*blocks"]) -> "RowsWithGaps":
        """The same rows with other weights (M, B)."""
        return replace(self, blocks=replace(self.blocks, weights=weights))

    def _seen_natural(self, eta: Any) -> Float[Array, "G K F"]:
        """Natural parameters of the seen cells of each group, without the components that its label forbids."""
        of_groups = jax.vmap(partial(seen_natural, log_widths=self.log_widths), (None, 0))(eta, jnp.asarray(self.seen))
        allowed = (self.labels[:, None] < 0) | (self.labels[:, None] == np.arange(len(eta))[None])
        return of_groups.at[..., 0].set(jnp.where(allowed, of_groups[..., 0], -jnp.inf))

    def _rows(self, start: Int[Array, ""], stop: Int[Array, ""]) -> CompleteRows:
        """The blocks of a group that are to be visited."""
        first = jnp.maximum(start, self.blocks.first)
        return replace(self.blocks, first=first, stop=jnp.maximum(first, jnp.minimum(stop, self.blocks.stop)))

    def _pass(self, of_groups: Float[Array, "G K F"], assignment: Assignment) -> Expectation:
        """Values (G,) and statistics (G, K, F) of the seen cells of all groups."""

        def of_group(group: tuple[Array, Array, Array]) -> Expectation:
            return self._rows(*group[1:]).expected_statistics(group[0], assignment)

        return lax.map(of_group, (of_groups, jnp.asarray(self.starts), jnp.asarray(self.stops)))

    def _sum_of_groups(self, eta: Any, form: Any) -> Float[Array, "K F K F"]:
        """Sum over groups of a quadratic form in their natural parameters, as one in those of complete rows."""

        def add(total: Array, group: tuple[Array, ...]) -> tuple[Array, None]:
            theirs, seen, start, stop = group
            slopes = _slopes(eta, seen, has_noise=self.log_widths is not None)
            found = form(theirs, self._rows(start, stop))
            return total + jnp.einsum("kfa,kflg,lgb->kalb", slopes, found, slopes), None

        groups = self._seen_natural(eta), jnp.asarray(self.seen), jnp.asarray(self.starts), jnp.asarray(self.stops)
        return lax.scan(add, jnp.zeros((*eta.shape, *eta.shape)), groups)[0]


@jax.custom_jvp
def _log_likelihood(of_groups: Float64[Array, "G K F"], rows: RowsWithGaps) -> Float64[Array, ""]:
    return rows._pass(of_groups, soft).value.sum()


@_log_likelihood.defjvp
def _log_likelihood_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    of_groups, rows = primals
    values, statistics = rows._pass(of_groups, soft)
    return values.sum(), (statistics * tangents[0]).sum()


class _Elimination(NamedTuple):
    """What is left of a quadratic form while missing cells are integrated out.

    Logarithm of the integral and the part of it that completes squares, the linear part, the precision, and the
    smallest pivot so far relative to its diagonal.
    """

    log_integral: Array
    squares: Array
    linear: Array
    precision: Array
    smallest: Array


def integrate_out(eta: Float[Array, " F"], seen: Bool[Array, " D"]) -> Float[Array, " F"]:
    """Natural parameters (F,) of the seen cells, of Gaussian or t distributed rows; zero at the features of the others.

    The constant is NaN where the precision is so near to singular that rounding would show in it.
    """
    D = seen.shape[0]
    size = n_statistics(D)
    left, rest = _eliminate(eta[1 : 1 + D], eta[1 + D : size], seen)
    if len(eta) == size:
        return jnp.concatenate([(eta[0] + left.log_integral + left.squares)[None], rest])
    half = 0.5 * (~seen).sum()
    rate, shape = eta[size:]
    less = shape - half
    constant = eta[0] + left.log_integral + half + binet(less) - binet(shape) - 0.5 * jnp.log1p(-half / shape)
    return jnp.concatenate([constant[None], rest, jnp.stack([rate + half - left.squares, less])])


def _eliminate(
    linear: Float[Array, " D"], quadratic: Float[Array, " V"], seen: Bool[Array, " D"]
) -> tuple[_Elimination, Float[Array, " DV"]]:
    """Integrate the missing cells out one by one, and the parameters that are left for the seen cells."""
    n_features = seen.shape[0]
    twice = 1.0 + np.eye(n_features)
    precision = -twice * unvech(quadratic, n_features)
    sizes = jnp.diagonal(precision)

    def eliminate(state: _Elimination, cell: Array) -> tuple[_Elimination, None]:
        missing = ~seen[cell]
        pivot = jnp.where(missing, state.precision[cell, cell], 1.0)
        column = jnp.where(missing, state.precision[cell], 0.0)
        height = jnp.where(missing, state.linear[cell], 0.0)
        return _Elimination(
            state.log_integral + 0.5 * (jnp.where(missing, LOG_2PI, 0.0) - jnp.log(pivot)),
            state.squares + 0.5 * height**2 / pivot,
            state.linear - column * height / pivot,
            state.precision - column[:, None] * column[None] / pivot,
            jnp.where(missing, jnp.minimum(state.smallest, pivot / sizes[cell]), state.smallest),
        ), None

    zero, one = jnp.zeros((), linear.dtype), jnp.ones((), linear.dtype)
    state = _Elimination(zero, zero, linear, jnp.asarray(precision), one)
    left, _ = lax.scan(eliminate, state, jnp.arange(n_features))
    smallest = jnp.minimum(left.smallest, jnp.where(seen, jnp.diagonal(left.precision) / sizes, 1.0).min())
    rounding = np.finfo(np.float64).eps * (linear**2 / sizes).sum() / smallest
    log_integral = jnp.where(rounding < MOST_ROUNDING, left.log_integral, jnp.nan)
    both = seen[:, None] & seen[None]
    rest = jnp.where(seen, left.linear, 0.0), vech(-jnp.where(both, left.precision, 0.0) / twice)
    return left._replace(log_integral=log_integral), jnp.concatenate(rest)


def seen_natural(
    eta: Float[Array, "K F"], seen: Bool[Array, " D"], log_widths: Float[Any, " D"] | None = None
) -> Float[Array, "K F"]:
    """Natural parameters of the seen cells for all components, and for noise, which comes last where it has a box."""
    gaussians = eta if log_widths is None else eta[:-1]
    integrated = jax.vmap(integrate_out, (0, None))(gaussians, seen)
    if log_widths is None:
        return integrated
    return jnp.concatenate([integrated, eta[-1:].at[:, 0].add(unseen_volume(jnp.asarray(log_widths), seen))])


def _slopes(eta: Float[Array, "K F"], seen: Bool[Array, " D"], *, has_noise: bool) -> Float[Array, "K F F"]:
    """Derivative of each row of `seen_natural` by the same row of the natural parameters."""
    gaussians = eta[:-1] if has_noise else eta
    slopes = jax.vmap(jax.jacfwd(integrate_out), (0, None))(gaussians, seen)
    return jnp.concatenate([slopes, jnp.eye(eta.shape[1])[None]]) if has_noise else slopes


def _weighted_integrals(
    eta: Float[Array, " F"], seen: Bool[Array, "G D"], statistics: Float[Array, "G F"]
) -> Float[Array, ""]:
    """Sum over groups of the statistics times the natural parameters of their seen cells, for one component."""
    of_groups = jax.vmap(integrate_out, (None, 0))(eta, jnp.asarray(seen))
    return (statistics * of_groups).sum()


def prepare(
    x: Float[np.ndarray, "N D"],
    sample_weight: Float[np.ndarray, " N"],
    scaling: Scaling,
    labels: Int[np.ndarray, " N"] | None = None,
    noise: Noise | None = None,
    *,
    with_heavy_tails: bool = False,
) -> RowsWithGaps:
    """Rows (N, D) with NaN in missing cells, in unit coordinates that scale each column by itself.

    `labels` (N,) are known components, -1 where they are not known. A row without any cell says nothing and is left
    out, unless its label is known. `noise`, in data units, has a box along the columns. Components are Gaussian, or
    `with_heavy_tails` t distributions.
    """
    seen, group = group_by_gaps(x)
    known = np.full(len(x), -1) if labels is None else labels
    kinds, number = np.unique(np.stack([group, known]), axis=1, return_inverse=True)
    seen, own_labels = seen[kinds[0]], kinds[1]
    number = np.where((seen.any(1) | (own_labels >= 0))[number], number, -1)
    z = np.where(np.isnan(x), 0.0, (x - scaling.center) / np.diag(scaling.factor))
    cut, places, starts, stops = grouped(z, sample_weight, number, len(seen))
    log_widths = None if noise is None else scaling.noise_to_unit(noise).log_widths
    if with_heavy_tails:
        rows: CompleteRows = HeavyTailedRows(**vars(cut), has_noise=np.zeros(int(noise is not None)))
    else:
        rows = CompleteRows(**vars(cut))
    return RowsWithGaps(
        blocks=rows,
        places=places,
        starts=starts,
        stops=stops,
        seen=seen,
        labels=own_labels,
        log_widths=log_widths,
    )
