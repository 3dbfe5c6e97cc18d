r"""Standard errors of the maximum-likelihood fit, from derivatives of the log-likelihood.

With J the observed information, minus the Hessian of the objective, and s_n the score of one point,

.. math:: V_\text{information} = J^{-1}, \quad V_\text{sandwich} = J^{-1} \Big(\sum_n w_n s_n s_n^\top\Big) J^{-1},
          \quad V_\text{scores} = \Big(\sum_n w_n s_n s_n^\top\Big)^{-1},

and by the delta method se(g)^2 = g' V g for the gradient g of anything that is reported. Coordinates are as many as
there are free parameters: log odds of the free weights, free means, directions in which the free covariances can
move within their structure, and the logarithms of the degrees of freedom that are estimated.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayes_gmm.core.linalg import unvech, vech
from bayes_gmm.core.precision import in_float64
from bayes_gmm.core.validation import one_of
from bayes_gmm.errors import FitError
from bayes_gmm.likelihood import linear_form
from bayes_gmm.likelihood.contract import Likelihood
from bayes_gmm.likelihood.moments import n_statistics
from bayes_gmm.likelihood.short_tables import ShortTable
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.parameter_names import PARAMETERS
from bayes_gmm.mixture.scaling import Scaling
from bayes_gmm.mle.degrees_of_freedom import free_directions
from bayes_gmm.objective.closed_derivatives import closed_derivatives
from bayes_gmm.objective.degeneracy import degenerate_components
from bayes_gmm.objective.objective import Objective
from bayes_gmm.objective.problem import Problem

REPORTED = (*PARAMETERS, "covariances")
"""Properties of the components of a mixture that have standard errors."""

KINDS = ("information", "sandwich", "scores")

_LARGEST = 10_000
"""Natural parameters of all components up to which there are standard errors: a matrix of them takes 800 MB."""


def reported(mixture: Mixture) -> tuple[str, ...]:
    """Properties of a mixture that have standard errors: those of its components, and the weight of its noise."""
    tails = () if mixture.degrees_of_freedom is None else ("scatters", "degrees_of_freedom")
    return (*REPORTED, *tails, *(() if mixture.noise is None else ("noise_weight",)))


@in_float64
def standard_errors(mixture: Mixture, problem: Problem, kind: str = "information") -> dict[str, np.ndarray]:
    """Standard errors of weights, means, scales, correlations and covariances, in data units.

    Those of t distributions are jointly with the degrees of freedom where these are estimated, and given them where
    they are at a bound, at which they have no standard error (NaN). Scatters are among them.

    Parameters
    ----------
    mixture
        A maximum of the objective, in data units.
    problem
        The data, and all that the fit respected.
    kind
        "information", the usual one; "sandwich", right also where the data are no mixture of Gaussians; "scores", the
        outer product of the scores.

    Raises
    ------
    FitError
        When the information is not positive definite (the likelihood is flat in some direction, or this is no maximum),
        the assignment was hard, or there are so many columns that the information would fill the memory.

    References
    ----------
    Efron and Hinkley (1978), doi 10.1093/biomet/65.3.457; Louis (1982), doi 10.1111/j.2517-6161.1982.tb01203.x;
    sandwich: White (1982), doi 10.2307/1912526.
    """
    one_of("kind", kind, KINDS, 'The usual one is "information".')
    if problem.assignment == "hard":
        raise FitError(
            "Hard assignment does not maximise the likelihood, but that of the best labels.",
            "a fit by soft assignment",
            'Fit again with assignment="soft", starting from this mixture.',
        )
    _check_size(problem)
    objective, scaling = _objective(problem), problem.scaling
    unit = scaling.to_unit(mixture)
    free = _free_coordinates(problem)
    tangents, degrees = _tangents(unit, problem), free_directions(unit, problem)
    derivatives = _closed_derivatives if _is_closed(problem) else _derivatives
    information, jacobian, reported = derivatives(unit, free, tangents, degrees, objective, scaling)
    if not information.size:
        return {name: np.zeros(values.shape[:-1]) for name, values in reported.items()}
    why = partial(degenerate_components, mixture, problem.table.values, problem.table.columns)
    root = _root_of_inverse(np.asarray(information), "information matrix", why)
    if kind != "information":
        of_scores = _score_products if isinstance(objective.data, ShortTable) else _compiled_score_products
        products = np.asarray(of_scores(unit, objective)) + _known_score_products(problem)
        scores = np.asarray(jacobian).T @ products @ np.asarray(jacobian)
        inverse = root @ root.T
        root = _root_of_inverse(scores, "matrix of scores", why) if kind == "scores" else inverse @ _root(scores)
    errors = {name: np.sqrt(((np.asarray(rows) @ root) ** 2).sum(-1)) for name, rows in reported.items()}
    if problem.estimates_degrees:
        errors["degrees_of_freedom"] = np.where(degrees.any(1), errors["degrees_of_freedom"], np.nan)
    return errors


def _check_size(problem: Problem) -> None:
    """Refuse matrices that would fill the memory: covariances of all components count as wholes, whatever is free."""
    K, D = problem.n_components, problem.table.n_features
    if (size := K * n_statistics(D)) > _LARGEST:
        raise FitError(
            f"The information of {K} components in {D} columns would be a matrix of {size} x {size} numbers.",
            f"at most {_LARGEST}: {K} components in about {int(np.sqrt(2 * _LARGEST / K))} columns",
            "Take fewer columns or components, or the bootstrap.",
        )


def _objective(problem: Problem) -> Objective:
    """The objective in NumPy where derivatives are in closed form and the table is short, else on JAX's device."""
    return problem.short_objective() if _is_closed(problem) and problem.is_short else problem.objective()


def _is_closed(problem: Problem) -> bool:
    """Whether derivatives are in closed form: there is no prior, and covariances of the structure add."""
    return problem.prior is None and problem.structure.is_linear and not problem.has_heavy_tails


def _root(matrix: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "P P"]:
    """R with R R' the matrix, which is positive semidefinite."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(eigenvalues, 0))


def _root_of_inverse(
    matrix: Float[np.ndarray, "P P"], name: str, why: Callable[[], tuple[str, ...]]
) -> Float[np.ndarray, "P P"]:
    """R with R R' the inverse of the matrix; `why()` says what of the data may leave it without one."""
    # Scaled to a unit diagonal, so that a parameter with little information is not mistaken for one without any.
    sizes = np.sqrt(np.abs(np.diag(matrix)))
    sizes = np.where(sizes > 0, sizes, 1.0)
    eigenvalues, vectors = np.linalg.eigh(matrix / np.outer(sizes, sizes))
    if not eigenvalues[0] > 1e-10 * eigenvalues[-1]:
        raise FitError(
            f"The {name} has eigenvalues from {eigenvalues[0]:.2g} to {eigenvalues[-1]:.2g}: "
            + " ".join(("the likelihood does not determine all parameters.", *why())),
            "a positive definite matrix",
            "Use fewer components, let the fit converge, or look at the posterior instead.",
        )
    return vectors / np.sqrt(eigenvalues) / sizes[:, None]


def _free_coordinates(problem: Problem) -> Float[np.ndarray, "all P"]:
    """Selection matrix (O + K D, P) of the log odds (O), those of noise last, and means (K D) that are free."""
    K, D = problem.n_components, problem.table.n_features
    with_noise = problem.noise is not None
    odds, means = np.ones(K + with_noise, bool), np.ones((K, D), bool)
    if problem.fixed is not None:
        held = np.asarray(problem.fixed.held_weights(with_noise=with_noise)[0])
        odds, means = ~held, np.repeat(~problem.fixed.means[:, None], D, 1)
    # The last free log odds is the one against which the others are measured.
    odds[np.flatnonzero(odds)[-1:]] = False
    return np.eye(len(odds) + K * D)[:, np.concatenate([odds, means.ravel()])]


def _tangents(mixture: Mixture, problem: Problem) -> Float[np.ndarray, "KV P"]:
    """Orthonormal directions (K V, P) in which the free covariances can move within their structure."""
    K, D = problem.n_components, problem.table.n_features
    size = D * (D + 1) // 2
    free = np.ones(K, bool) if problem.fixed is None else ~problem.fixed.covariances
    if not free.any():
        return np.zeros((K * size, 0))
    if problem.structure.is_linear:
        directions = problem.structure.directions(int(free.sum()), D)
    else:
        projection = _projection(mixture.weights[free], mixture.scatters[free], problem.structure)
        rank = problem.structure.n_parameters(int(free.sum()), D)
        directions = np.linalg.svd(np.asarray(projection))[0][:, :rank]
    tangents = np.zeros((K, size, directions.shape[1]))
    tangents[free] = directions.reshape(-1, size, directions.shape[1])
    return tangents.reshape(K * size, -1)


@partial(jax.jit, static_argnums=2)
def _projection(weights: Array, covariances: Array, structure: Structure) -> Array:
    """Jacobian of the map from covariances to the nearest ones that have the structure."""

    def within(flat: Array) -> Array:
        moved = unvech(flat.reshape(len(weights), -1), covariances.shape[-1])
        return jnp.ravel(vech(structure.estimate(weights, weights[:, None, None] * moved, covariances)))

    return jax.jacfwd(within)(vech(covariances).ravel())


def _closed_derivatives(
    unit: Mixture, free: np.ndarray, tangents: np.ndarray, _: np.ndarray, objective: Objective, scaling: Scaling
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """What `_derivatives` gives where `_is_closed`."""
    of_data = _of_data if isinstance(objective.data, ShortTable) else _compiled_of_data
    statistics, curvature = map(np.asarray, of_data(objective.data, np.asarray(objective.data.natural(unit))))
    found = closed_derivatives(unit, statistics + objective.known, np.asarray(objective.has_free_weight()), scaling)
    coordinates = np.zeros((len(free) + len(tangents), free.shape[1] + tangents.shape[1]))
    coordinates[: len(free), : free.shape[1]], coordinates[len(free) :, free.shape[1] :] = free, tangents
    jacobian = found.natural @ coordinates
    flat = curvature.reshape(len(jacobian), -1)
    information = -(jacobian.T @ flat @ jacobian + coordinates.T @ found.remainder @ coordinates)
    return information, jacobian, {name: rows @ coordinates for name, rows in found.reported.items()}


def _of_data(data: Likelihood, eta: Any) -> tuple[Any, Any]:
    """Gradient and Hessian of the log-likelihood in the natural parameters."""
    return data.expected_statistics(eta).statistics, data.curvature(eta)


_compiled_of_data = jax.jit(_of_data)


@jax.jit
def _derivatives(
    unit: Mixture, free: Array, tangents: Array, degrees: Array, objective: Objective, scaling: Scaling
) -> tuple[Array, Array, dict[str, Array]]:
    """Observed information, and derivatives of the natural parameters and of everything that is reported.

    By the chain rule through the natural parameters: the data enter only through the gradient and the Hessian of the
    likelihood. The rest is differentiated in forward mode where it contains iterations.
    """
    data = objective.data
    rebuild = partial(_rebuild, at=unit, free=free, tangents=tangents, degrees=degrees, objective=objective)
    origin = jnp.zeros(free.shape[1] + tangents.shape[1] + degrees.shape[1])

    def natural(theta: Array) -> Array:
        return jnp.ravel(data.natural(rebuild(theta)))

    def log_likelihood(flat: Array) -> Array:
        eta = flat.reshape(objective.known.shape)
        return data.log_likelihood(eta) + (eta * objective.known).sum()

    eta = natural(origin)
    slope, curvature = (
        jax.grad(log_likelihood)(eta),
        data.curvature(eta.reshape(objective.known.shape)).reshape(eta.size, -1),
    )
    jacobian = jax.jacfwd(natural)(origin)

    def with_constant_slope(theta: Array) -> Array:
        # Its second derivatives are those that come from the curvature of theta -> eta and from the prior.
        return slope @ natural(theta) + objective.log_prior(rebuild(theta))

    first = jax.grad if objective.structure.has_closed_form else jax.jacfwd
    information = -(jacobian.T @ curvature @ jacobian + jax.jacfwd(first(with_constant_slope))(origin))
    return information, jacobian, jax.jacfwd(lambda theta: _reported(scaling.to_data(rebuild(theta))))(origin)


def _score_products(unit: Mixture, objective: Objective) -> Any:
    """Sum of w_n s_n s_n' over the points without a label, s_n in natural parameters."""
    return objective.data.score_products(objective.data.natural(unit))


_compiled_score_products = jax.jit(_score_products)


def _known_score_products(problem: Problem) -> Float[np.ndarray, "KF KF"]:
    """Sum of w_n s_n s_n' over the points with a label, whose score is phi in the place of their component."""
    z, labels, weights = problem.known_points()
    phi = np.asarray(linear_form.features(jnp.asarray(z.T))).T
    n_rows, n_statistics = problem.n_components + (problem.noise is not None), phi.shape[1]
    total = np.zeros((n_rows, n_statistics, n_rows, n_statistics))
    for component in range(problem.n_components):
        own = phi[labels == component]
        total[component, :, component] = (own.T * weights[labels == component]) @ own
    return total.reshape(n_rows * n_statistics, -1)


def _reported(mixture: Mixture) -> dict[str, Array]:
    return {name: getattr(mixture, name) for name in reported(mixture)}


def _rebuild(
    theta: Float[Array, " P"], at: Mixture, free: Array, tangents: Array, degrees: Array, objective: Objective
) -> Mixture:
    """Mixture at free coordinates: changes of the log odds, the means, the scatters and the log degrees of freedom."""
    K, D = at.n_components, at.n_features
    first, turned, tails = jnp.split(theta, np.cumsum([free.shape[1], tangents.shape[1]]))
    odds, shifts = jnp.split(free @ first, [len(objective.known)])
    scatters = unvech(jnp.asarray(vech(at.scatters)) + (tangents @ turned).reshape(K, -1), D)
    old = at.log_weights if at.noise is None else jnp.append(at.log_weights, at.noise.log_weight)
    log_weights = objective.free_log_weights(old + odds)
    return Mixture(
        log_weights=log_weights[:K],
        means=at.means + shifts.reshape(K, D),
        scale_tril=objective.covariance_factors(at.weights, at.weights[:, None, None] * scatters, at.scatters),
        noise=objective.noise_with(log_weights),
        degrees_of_freedom=at.degrees_of_freedom * jnp.exp(degrees @ tails) if degrees.size else at.degrees_of_freedom,
    )
