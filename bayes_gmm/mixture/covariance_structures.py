r"""What the covariances of the components have in common: fourteen structures and their M-steps.

Every covariance is a volume, a shape and an orientation,

.. math:: \Sigma_k = \lambda_k D_k A_k D_k^\top, \qquad |A_k| = 1, \quad D_k^\top D_k = I,

and a structure says with one letter for each what is equal over components (E), what varies (V) and what is the
identity (I). The M-step minimises, given the weighted counts n_k and scatters W_k of the components,

.. math:: f(\Sigma) = \sum_k n_k \log |\Sigma_k| + \mathrm{tr}(\Sigma_k^{-1} W_k).

It is a view of the scatters, by shape and orientation, followed by a tie over components, by volume and shape. The
table `_M_STEPS` lists the fourteen pairs. A view is one of

=======  ================================  =====================  ==================
letters  view of the scatters              structures             f is unchanged by
=======  ================================  =====================  ==================
. I I    their mean variance               EII VII                scale, rotation
. . I    their diagonals                   EEI VEI EVI VVI        scale of columns
. E E    as they are                       EEE VEE                every affine map
. V V    as they are                       EVV VVV                every affine map
. E V    in the axes of each               EEV VEV                scale, rotation
. V E    in axes that all share            EVE VVE                scale, rotation
=======  ================================  =====================  ==================

and a tie says whether components have their own volume and shape, one for all, or only one of the two in common.

References
----------
Celeux and Govaert (1995), doi 10.1016/0031-3203(94)00125-6; letters: Fraley and Raftery (2002),
doi 10.1198/016214502760047131.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from bayes_gmm.core.linalg import cholesky_factors, choose, eigenvectors, invert_tril, log_diagonal, namespace
from bayes_gmm.errors import ArgumentError

type Tie = Callable[[Any, Any, Any], Any]
"""From counts (..., K), scatters (..., K, D, D) and covariances to begin at, or None, to covariances (..., K, D, D)."""

type View = Callable[[Tie, Any, Any, Any], Any]
"""The same map, for a tie that is applied to the scatters as they look in other axes."""

_TOLERANCE = 1e-13
"""Fall of f for each point below which an iteration ends: some hundred times the rounding of f."""

_MOST_STEPS = 500
"""Bound for iterations that creep; they need ten to fifty steps where the scatters have full rank."""


@dataclass(frozen=True)
class Structure:
    """One of the fourteen structures.

    Attributes
    ----------
    name
        Three letters, for volume, shape and orientation: equal (E), varying (V) or identity (I).
    """

    name: str

    @property
    def invariance(self) -> str:
        """Changes of coordinates that keep the structure: "affine", of "columns" by themselves, or of "scale"."""
        return _M_STEPS[self.name].invariance

    @property
    def is_diagonal(self) -> bool:
        """Whether all covariances are diagonal or spherical, so that those of the data may be singular."""
        return self.name.endswith("I")

    @property
    def has_closed_form(self) -> bool:
        """Whether the M-step needs no iteration, through which there are no derivatives in reverse."""
        return _M_STEPS[self.name].has_closed_form

    @property
    def is_linear(self) -> bool:
        """Whether sums of covariances of this structure have it too, and its M-step is linear in the scatters."""
        view, tie, _, _ = _M_STEPS[self.name]
        return tie in (_separate, _pooled) and view in (_spherical, _along_columns, _as_they_are)

    def directions(self, n_components: int, n_features: int) -> Float[np.ndarray, "KV P"]:
        """Orthonormal directions of the lower triangles of all covariances in which a linear structure lets them move.

        They are the free parameters P of covariances (K, V), V = D (D + 1) / 2, one component after another.
        """
        view, tie, _, _ = _M_STEPS[self.name]
        rows, columns = np.tril_indices(n_features)
        of_one = np.eye(len(rows)) if view is _as_they_are else np.eye(len(rows))[:, rows == columns]
        if view is _spherical:
            of_one = of_one.sum(1, keepdims=True) / np.sqrt(n_features)
        if tie is _pooled:
            return np.tile(of_one, (n_components, 1)) / np.sqrt(n_components)
        return np.kron(np.eye(n_components), of_one)

    @property
    def turns_axes(self) -> bool:
        """Whether the M-step looks for axes that all components share, plane by plane."""
        return _M_STEPS[self.name].view is _along_common_axes

    def n_parameters(self, n_components: int, n_features: int) -> int:
        """Number of free parameters of the covariances: 1 for a volume, D - 1 for a shape, D (D - 1) / 2 for axes."""
        times = {"I": 0, "E": 1, "V": n_components}
        sizes = (1, n_features - 1, n_features * (n_features - 1) // 2)
        return sum(times[letter] * size for letter, size in zip(self.name, sizes, strict=True))

    # A scatter of too small a rank has an estimate that is not finite, as it has in JAX.
    @np.errstate(divide="ignore", invalid="ignore", over="ignore")
    def estimate(
        self,
        counts: Float[Array | np.ndarray, "*batch K"],
        scatters: Float[Array | np.ndarray, "*batch K D D"],
        near: Float[Array | np.ndarray, "*batch K D D"] | None = None,
    ) -> Any:
        r"""Covariances of maximum likelihood: the minimum of f.

        Iterations (VEI, VEE, VEV, EVE, VVE) never raise f; they end when a step lowers it by less than 1e-13 for each
        point. EVE and VVE may have several minima: the lowest found from the axes of each scatter and of their sum,
        or the one that is reached from covariances nearby.

        Parameters
        ----------
        counts : (..., K)
            Weighted numbers of points n_k.
        scatters : (..., K, D, D)
            Symmetric W_k = sum_n w_n r_nk (x_n - mu_k)(x_n - mu_k)'.
        near : (..., K, D, D)
            Covariances of this structure, where iterations begin.

        Returns
        -------
        Array, (..., K, D, D)
            Exactly symmetric; not finite when a scatter has too small a rank for the structure. In NumPy or in JAX, as
            the arguments are.
        """
        m_step = _M_STEPS[self.name]
        covariances = m_step.view(m_step.tie, counts, scatters, near)
        return (covariances + covariances.mT) / 2


_SCIKIT_LEARN = {"full": "VVV", "tied": "EEE", "diag": "VVI", "spherical": "VII"}


def find_structure(covariance_type: Any, n_features: int) -> Structure:
    """Structure that a user means by a code, by a name of scikit-learn's, or for one feature by "E" or "V".

    With one feature there is nothing but a volume, so that all codes mean EEE or VVV.

    Raises
    ------
    ArgumentError
        There is no such structure for this number of features.

    Examples
    --------
    >>> find_structure("tied", n_features=2)
    Structure(name='EEE')
    """
    known = {code: code for code in _M_STEPS} | _SCIKIT_LEARN
    if n_features == 1:
        known = {name: 3 * code[0] for name, code in known.items()} | {"E": "EEE", "V": "VVV"}
    if not (isinstance(covariance_type, str) and covariance_type in known):
        names = ", ".join(f'"{name}"' for name in [*_SCIKIT_LEARN, *_M_STEPS])
        expected = f'one of {names}, or for one feature "E" or "V"'
        raise ArgumentError(f"covariance_type is {covariance_type!r}.", expected, _hint(str(covariance_type), known))
    return STRUCTURES[known[covariance_type]]


def _hint(covariance_type: str, known: dict[str, str]) -> str:
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(covariance_type.lower(), lowered, n=1)
    return f'Did you mean "{lowered[close[0]]}"?' if close else 'Begin with "full", which ties nothing together.'


# Ties over components, of volume and shape


def _directly(formula: Callable[[Any, Any], Any]) -> Tie:
    """A tie in closed form, which needs no covariances to begin at."""
    return lambda counts, scatters, near: formula(counts, scatters)


@_directly
def _separate(counts: Any, scatters: Any) -> Any:
    """Volume and shape of each component."""
    return scatters / counts[..., None, None]


@_directly
def _pooled(counts: Any, scatters: Any) -> Any:
    """One volume and one shape for all."""
    pooled = scatters.sum(-3, keepdims=True) / counts.sum(-1)[..., None, None, None]
    return namespace(scatters).broadcast_to(pooled, scatters.shape)


@_directly
def _equal_volumes(counts: Any, scatters: Any) -> Any:
    """One volume, and the shape of each component: each scatter is rescaled to the mean volume."""
    sizes = namespace(scatters).exp(_log_determinants(scatters) / scatters.shape[-1])
    mean = sizes.sum(-1, keepdims=True) / counts.sum(-1, keepdims=True)
    return scatters * (mean / sizes)[..., None, None]


def _proportional(counts: Any, scatters: Any, near: Any) -> Any:
    """One shape, and the volume of each component: alternate between the best volumes and the best shape for them."""
    n_features, total, xp = scatters.shape[-1], counts.sum(-1), namespace(scatters)

    def common(sizes: Any) -> Any:
        return (scatters / sizes[..., None, None]).sum(-3) / total[..., None, None]

    def step(sizes: Any) -> tuple[Any, Any]:
        factor = cholesky_factors(common(sizes))
        whitening = invert_tril(factor)
        better = xp.einsum("...ij,...kjl,...il->...k", whitening, scatters, whitening) / (n_features * counts)
        return better, n_features * (counts * xp.log(better)).sum(-1) + 2 * total * log_diagonal(factor)

    begin = xp.ones_like(counts) if near is None else xp.exp(_log_determinants(near) / n_features)
    sizes, _ = _descend(step, begin, total)
    return sizes[..., None, None] * common(sizes)[..., None, :, :]


# Views of the scatters, by shape and orientation


def _as_they_are(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """The whole of each scatter."""
    return tie(counts, scatters, near)


def _spherical(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """The mean variance of each scatter, in every direction."""
    n_features, xp = scatters.shape[-1], namespace(scatters)
    means = xp.trace(scatters, axis1=-2, axis2=-1)[..., None, None] / n_features
    return tie(counts, means * _identity_like(scatters), near)


def _along_columns(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """The diagonal of each scatter."""
    return tie(counts, scatters * _identity_like(scatters), near)


def _along_own_axes(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """Each scatter in its own eigenvectors, ordered by eigenvalue, which by von Neumann's trace inequality is best."""
    axes = eigenvectors(scatters)
    return axes @ _along_columns(tie, counts, axes.mT @ scatters @ axes, near) @ axes.mT


def _along_common_axes(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    r"""The scatters in axes that all share: alternate between variances along the axes and rotations of the axes.

    The axes are rotated in each plane by turns, each time to the minimum. Majorisation (Browne and McNicholas 2014,
    doi 10.1007/s11634-013-0139-1) moves all axes at once by bounded steps, and needs ten to thirty times as many.

    References
    ----------
    Common principal components by plane rotations: Flury and Gautschi (1986), doi 10.1137/0907013.
    """
    xp = namespace(scatters)
    # Matrices with common axes have a sum with these axes.
    candidates = scatters if near is None else near
    candidates = candidates.sum(-3, keepdims=True)
    if near is None:
        candidates = xp.concatenate([candidates, scatters], -3)
    # Iterations forget where they began; derivatives of eigenvectors may not exist.
    if xp is jnp:
        candidates = lax.stop_gradient(candidates)
    of_each = xp.broadcast_to(counts[..., None, :], (*candidates.shape[:-2], counts.shape[-1]))
    turned = xp.broadcast_to(scatters[..., None, :, :, :], (*of_each.shape, *scatters.shape[-2:]))

    def variances(axes: Any) -> Any:
        rotated = axes.mT[..., None, :, :] @ turned @ axes[..., None, :, :]
        return _along_columns(tie, of_each, rotated, None)

    def step(axes: Any) -> tuple[Any, Any]:
        now = variances(axes)
        precisions = 1 / xp.diagonal(now, axis1=-2, axis2=-1)
        return _turn_all(axes, precisions, turned), (of_each * _log_determinants(now)).sum(-1)

    axes, values = _descend(step, eigenvectors(candidates), of_each.sum(-1))
    found = axes[..., None, :, :] @ variances(axes) @ axes.mT[..., None, :, :]
    best = values.argmin(-1)[..., None, None, None, None]
    return xp.take_along_axis(found, best, -4)[..., 0, :, :, :]


def _turn_all(axes: Any, precisions: Any, scatters: Any) -> Any:
    """Axes after a rotation in the plane of each pair of them, one after another."""
    pairs = np.stack(np.triu_indices(axes.shape[-1], 1), 1)
    if not isinstance(axes, jax.Array):
        for pair in pairs:
            axes = _turn(axes, pair, precisions, scatters)
        return axes
    return lax.scan(lambda axes, pair: (_turn(axes, pair, precisions, scatters), None), axes, pairs)[0]


def _turn(axes: Any, pair: Any, precisions: Any, scatters: Any) -> Any:
    r"""Rotate two axes in their plane to the minimum of f for given variances.

    There f is, but for a constant, u'Tu with T = sum_k (1 / s_ki - 1 / s_kj) W_k and u the first of the two axes.
    """
    xp = namespace(axes)
    first, second = axes[..., pair[0]], axes[..., pair[1]]
    weights = precisions[..., pair[0]] - precisions[..., pair[1]]
    total = (weights[..., None, None] * scatters).sum(-3)
    image = (total @ first[..., None])[..., 0]
    across, along = (second * image).sum(-1), (first * image).sum(-1)
    other = (second * (total @ second[..., None])[..., 0]).sum(-1)
    angle = xp.arctan2(-2 * across, other - along) / 2
    cosine, sine = xp.cos(angle)[..., None], xp.sin(angle)[..., None]
    columns = np.arange(axes.shape[-1])
    is_first, is_second = columns == pair[0], columns == pair[1]
    turned, beside = cosine * first + sine * second, cosine * second - sine * first
    is_first, is_second = (mask.reshape((1,) * (axes.ndim - 1) + (-1,)) for mask in (is_first, is_second))
    return xp.where(is_first, turned[..., None], xp.where(is_second, beside[..., None], axes))


# Iteration


def _descend(step: Callable[[Any], tuple[Any, Any]], start: Any, total: Any) -> tuple[Any, Any]:
    """Repeat a step, which also gives f (...), until f no longer falls; the last state and its f."""
    xp = namespace(start, total)

    def advance(run: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        n_steps, state, value, falls = run
        better, lower = step(state)
        still = falls & (value - lower > _TOLERANCE * total)
        return n_steps + 1, choose(falls, better, state), choose(falls, lower, value), still

    # A comparison with NaN is false, so that a collapse ends the loop.
    infinite = xp.full(total.shape, np.inf, total.dtype)
    run = (xp.zeros((), int), start, infinite, xp.ones(total.shape, bool))
    if xp is jnp:
        run = lax.while_loop(lambda run: (run[0] < _MOST_STEPS) & run[3].any(), advance, run)
        return run[1], run[2]
    while run[0] < _MOST_STEPS and run[3].any():
        run = advance(run)
    return run[1], run[2]


def _log_determinants(matrices: Any) -> Any:
    return 2 * log_diagonal(cholesky_factors(matrices))


def _identity_like(matrices: Any) -> Any:
    """The identity with as many axes as the matrices have."""
    identity = np.eye(matrices.shape[-1])
    return identity.reshape((1,) * (matrices.ndim - 2) + identity.shape)


# The fourteen structures


class _MStep(NamedTuple):
    """Which view and which tie make the M-step, what leaves f unchanged, and whether it is free of iterations."""

    view: View
    tie: Tie
    invariance: str
    has_closed_form: bool


_M_STEPS = {
    "EII": _MStep(_spherical, _pooled, "scale", True),
    "VII": _MStep(_spherical, _separate, "scale", True),
    "EEI": _MStep(_along_columns, _pooled, "columns", True),
    "VEI": _MStep(_along_columns, _proportional, "columns", False),
    "EVI": _MStep(_along_columns, _equal_volumes, "columns", True),
    "VVI": _MStep(_along_columns, _separate, "columns", True),
    "EEE": _MStep(_as_they_are, _pooled, "affine", True),
    "VEE": _MStep(_as_they_are, _proportional, "affine", False),
    "EVE": _MStep(_along_common_axes, _equal_volumes, "scale", False),
    "VVE": _MStep(_along_common_axes, _separate, "scale", False),
    "EEV": _MStep(_along_own_axes, _pooled, "scale", True),
    "VEV": _MStep(_along_own_axes, _proportional, "scale", False),
    "EVV": _MStep(_as_they_are, _equal_volumes, "affine", True),
    "VVV": _MStep(_as_they_are, _separate, "affine", True),
}

STRUCTURES = {code: Structure(code) for code in _M_STEPS}
"""The fourteen structures by name."""
