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

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from bayes_gmm.core.common_axes import turn_axes
from bayes_gmm.core.linalg import (
    cholesky_factors,
    choose,
    diagonal_matrices,
    diagonal_of,
    eigenvectors,
    invert_tril,
    log_diagonal,
    namespace,
)
from bayes_gmm.errors import ArgumentError

type Tie = Callable[[Any, Any, Any], Any]
"""From counts (..., K), scatters (..., K, D, D) and covariances to begin at, or None, to covariances (..., K, D, D).

Diagonal matrices are given and answered by their diagonals (..., K, D).
"""

type View = Callable[[Tie, Any, Any, Any], Any]
"""The same map, for a tie that is applied to the scatters as they look in other axes."""

_TOLERANCE = 1e-13
"""Fall of f for each point below which an iteration ends: some hundred times the rounding of f."""

_MOST_STEPS = 500
"""Bound for iterations that creep; they need ten to fifty steps where the scatters have full rank."""

_MOST_STEPS_NEARBY = 4
"""Bound from covariances nearby: a step of EM only has to go downhill, and the next one goes on from there."""


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
        point. EVE and VVE may have several minima: the lowest found from the axes of each scatter and of their sum.
        From covariances nearby at most four steps are made, towards the minimum that lies there.

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
    return scatters / _beside(counts, scatters)


@_directly
def _pooled(counts: Any, scatters: Any) -> Any:
    """One volume and one shape for all."""
    sums = scatters.sum(counts.ndim - 1, keepdims=True)
    return namespace(scatters).broadcast_to(sums / _beside(counts.sum(-1, keepdims=True), scatters), scatters.shape)


@_directly
def _equal_volumes(counts: Any, scatters: Any) -> Any:
    """One volume, and the shape of each component: each scatter is rescaled to the mean volume."""
    sizes = namespace(scatters).exp(_log_determinants(scatters, counts) / scatters.shape[-1])
    mean = sizes.sum(-1, keepdims=True) / counts.sum(-1, keepdims=True)
    return scatters * _beside(mean / sizes, scatters)


def _proportional(counts: Any, scatters: Any, near: Any) -> Any:
    """One shape, and the volume of each component: alternate between the best volumes and the best shape for them."""
    n_features, xp = scatters.shape[-1], namespace(scatters)

    def common(sizes: Any, counts: Any, scatters: Any) -> Any:
        sums = (scatters / _beside(sizes, scatters)).sum(counts.ndim - 1, keepdims=True)
        return sums / _beside(counts.sum(-1, keepdims=True), scatters)

    def step(sizes: Any, counts: Any, scatters: Any) -> tuple[Any, Any]:
        traces, log_determinant = _relative_to(common(sizes, counts, scatters), scatters, counts)
        better = traces / (n_features * counts)
        return better, n_features * (counts * xp.log(better)).sum(-1) + counts.sum(-1) * log_determinant

    begin = xp.ones_like(counts) if near is None else xp.exp(_log_determinants(near, counts) / n_features)
    sizes, _ = _descend(step, begin, (counts, scatters), is_near=near is not None)
    return _beside(sizes, scatters) * common(sizes, counts, scatters)


def _relative_to(common: Any, scatters: Any, counts: Any) -> tuple[Any, Any]:
    """Traces (..., K) of the scatters in units of a common matrix (..., 1, D, D), and its log determinant (...)."""
    if scatters.ndim == counts.ndim + 1:
        return (scatters / common).sum(-1), namespace(common).log(common).sum((-2, -1))
    factor = cholesky_factors(common[..., 0, :, :])
    whitening = invert_tril(factor)
    traces = namespace(scatters).einsum("...ij,...kjl,...il->...k", whitening, scatters, whitening)
    return traces, 2 * log_diagonal(factor)


def _log_determinants(matrices: Any, counts: Any) -> Any:
    """Logarithms of the determinants (..., K) of matrices, or of diagonal ones, as counts (..., K) tell."""
    if matrices.ndim == counts.ndim + 1:
        return namespace(matrices).log(matrices).sum(-1)
    return 2 * log_diagonal(cholesky_factors(matrices))


def _beside(numbers: Any, matrices: Any) -> Any:
    """Numbers (..., K) with the further axes of matrices, or of diagonals."""
    return numbers.reshape(*numbers.shape, *(1,) * (matrices.ndim - numbers.ndim))


# Views of the scatters, by shape and orientation


def _as_they_are(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """The whole of each scatter."""
    return tie(counts, scatters, near)


def _spherical(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """The mean variance of each scatter, in every direction."""
    variances = tie(counts, diagonal_of(scatters).mean(-1, keepdims=True), None)
    return diagonal_matrices(namespace(variances).broadcast_to(variances, scatters.shape[:-1]))


def _along_columns(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """The diagonal of each scatter."""
    return diagonal_matrices(tie(counts, diagonal_of(scatters), None if near is None else diagonal_of(near)))


def _along_own_axes(tie: Tie, counts: Any, scatters: Any, near: Any) -> Any:
    """Each scatter in its own eigenvectors, ordered by eigenvalue, which by von Neumann's trace inequality is best."""
    axes = eigenvectors(scatters)
    begin = None if near is None else (axes * (near @ axes)).sum(-2)
    variances = tie(counts, (axes * (scatters @ axes)).sum(-2), begin)
    return (axes * variances[..., None, :]) @ axes.mT


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
    all_scatters = xp.broadcast_to(scatters[..., None, :, :, :], (*of_each.shape, *scatters.shape[-2:]))

    def variances(axes: Any, counts: Any, scatters: Any) -> Any:
        along = (axes[..., None, :, :] * (scatters @ axes[..., None, :, :])).sum(-2)
        return tie(counts, along, None)

    def step(axes: Any, counts: Any, scatters: Any) -> tuple[Any, Any]:
        now = variances(axes, counts, scatters)
        return turn_axes(axes, 1 / now, scatters), (counts * xp.log(now).sum(-1)).sum(-1)

    axes, values = _descend(step, eigenvectors(candidates), (of_each, all_scatters), is_near=near is not None)
    axes = xp.take_along_axis(axes, values.argmin(-1)[..., None, None, None], -3)[..., 0, :, :]
    return (axes[..., None, :, :] * variances(axes, counts, scatters)[..., None, :]) @ axes[..., None, :, :].mT


# Iteration


def _descend(step: Any, start: Any, problems: tuple[Any, Any], is_near: bool) -> tuple[Any, Any]:
    """Repeat a step, which also gives f (...), until f no longer falls; the last state and its f.

    A step maps a state, counts (..., K) and scatters, such that problems whose f falls no more are left out in NumPy.
    """
    total, xp = problems[0].sum(-1), namespace(start, *problems)
    most = _MOST_STEPS_NEARBY if is_near else _MOST_STEPS
    value, falls = xp.full(total.shape, np.inf, total.dtype), xp.ones(total.shape, bool)

    def advance(run: tuple[Any, Any, Any, Any]) -> tuple[Any, Any, Any, Any]:
        n_steps, state, value, falls = run
        better, lower = step(state, *problems)
        still = falls & (value - lower > _TOLERANCE * total)
        return n_steps + 1, choose(falls, better, state), choose(falls, lower, value), still

    # A comparison with NaN is false, so that a collapse ends the loop.
    if xp is jnp:
        run = (jnp.zeros((), int), start, value, falls)
        return lax.while_loop(lambda run: (run[0] < most) & run[3].any(), advance, run)[1:3]
    state, falls = start.copy(), np.asarray(falls)
    for _ in range(most):
        state[falls], lower = step(state[falls], *(part[falls] for part in problems))
        still = value[falls] - lower > _TOLERANCE * total[falls]
        value[falls], falls[falls] = lower, still
        if not falls.any():
            break
    return state, value


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
