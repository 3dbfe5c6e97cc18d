r"""Derivatives in closed form at a mixture: of its natural parameters, of an M-step's function, of what is reported.

The coordinates are log odds, means and the entries of the covariances, one after another, without any structure. With
the precision P of a component and a direction E in which its covariance moves, dP = -P E P, so that the natural
parameters [c, P mu, -vech(P) / 2] have derivatives by products of small matrices, and so has

.. math:: Q = n \log \pi - \tfrac{n}{2} \log |\Sigma| - \tfrac12 \mathrm{tr}(P C), \qquad
          C = \sum_n r_n (x_n - \mu)(x_n - \mu)^\top,

what is left of the second derivatives of the likelihood beside the curvature in the natural parameters. Nothing is
compiled, and no difference loses digits.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from bayes_gmm.core.linalg import vech
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mixture.scaling import Scaling


class ClosedDerivatives(NamedTuple):
    """Derivatives with respect to coordinates (C): log odds (W), means (K D), covariances (K V).

    Attributes
    ----------
    natural : (W F, C)
        Of the natural parameters, noise included.
    remainder : (C, C)
        Second ones of the statistics times the natural parameters, for constant statistics.
    reported
        Of weights, means, scales, correlations, covariances and the weight of noise, in data units, (..., C).
    """

    natural: Float[np.ndarray, "WF C"]
    remainder: Float[np.ndarray, "C C"]
    reported: dict[str, np.ndarray]


def closed_derivatives(
    unit: Mixture, statistics: Float[np.ndarray, "_ F"], free_odds: Bool[np.ndarray, " _"], scaling: Scaling
) -> ClosedDerivatives:
    """All of them, at a mixture in unit coordinates; weights that are not free stay as they are."""
    K, D = unit.n_components, unit.n_features
    weights = np.append(unit.weights, unit.noise_weight) if unit.noise is not None else np.asarray(unit.weights)
    shares = np.where(free_odds, weights, 0.0)
    shares /= max(shares.sum(), np.finfo(float).tiny)
    log_weights = np.where(free_odds[:, None], np.eye(len(weights)) - shares, 0.0) * free_odds
    directions = _directions(D)
    precisions = unit.whitening.mT @ unit.whitening
    own = _of_components(unit, precisions, directions)

    W, F, V = len(weights), statistics.shape[1], len(directions)
    natural = np.zeros((W, F, W + K * (D + V)))
    natural[:, 0, :W] = log_weights
    remainder = np.zeros((W + K * (D + V), W + K * (D + V)))
    count = statistics[free_odds, 0].sum()
    remainder[:W, :W] = -count * (np.diag(shares) - np.outer(shares, shares))
    for k in range(K):
        places = np.concatenate([W + k * D + np.arange(D), W + K * D + k * V + np.arange(V)])
        natural[k][:, places] = own[k]
        remainder[np.ix_(places, places)] = _second(statistics[k], unit.means[k], precisions[k], directions)
    reported = _reported(scaling.to_data(unit), weights, log_weights, scaling.factor, directions)
    return ClosedDerivatives(natural.reshape(W * F, -1), remainder, reported)


def _directions(n_features: int) -> Float[np.ndarray, "V D D"]:
    """Symmetric matrices in which one entry of the lower triangle and its mirror image are one."""
    rows, columns = np.tril_indices(n_features)
    directions = np.zeros((len(rows), n_features, n_features))
    numbers = np.arange(len(rows))
    directions[numbers, rows, columns] = directions[numbers, columns, rows] = 1.0
    return directions


def _of_components(
    unit: Mixture, precisions: Float[np.ndarray, "K D D"], directions: Float[np.ndarray, "V D D"]
) -> Float[np.ndarray, "K F D+V"]:
    """Derivatives of each component's natural parameters with respect to its mean and covariance."""
    D, means = unit.n_features, np.asarray(unit.means)
    linear = (precisions @ means[..., None])[..., 0]
    by_mean = np.concatenate([-linear[:, None], precisions, np.zeros((len(means), len(directions), D))], 1)
    changes = -precisions[:, None] @ directions @ precisions[:, None]
    traces = np.einsum("kij,vij->kv", precisions, directions)
    moved = (changes @ means[:, None, :, None])[..., 0]
    constants = -0.5 * (traces + (moved * means[:, None]).sum(-1))
    multiplicity = vech(np.eye(D) - 2.0) / 2
    by_covariance = np.concatenate([constants[..., None], moved, vech(changes) * multiplicity], -1).mT
    return np.concatenate([by_mean, by_covariance], -1)


def _second(
    statistics: Float[np.ndarray, " F"],
    mean: Float[np.ndarray, " D"],
    precision: Float[np.ndarray, "D D"],
    directions: Float[np.ndarray, "V D D"],
) -> Float[np.ndarray, "M M"]:
    """Second derivatives of Q with respect to the mean and covariance of a component."""
    D = len(mean)
    count, sums = statistics[0], statistics[1 : 1 + D]
    squares = np.einsum("v,vij->ij", statistics[1 + D :], directions)
    offset = sums - count * mean
    scatter = squares - np.outer(sums, mean) - np.outer(mean, sums) + count * np.outer(mean, mean)
    turned = precision @ directions
    mixed = -(turned @ precision @ offset).T
    inner = 0.5 * count * np.eye(D) - precision @ scatter
    # tr(P E P G (n / 2 - P C)), symmetric in E and G once both orders are averaged.
    products = turned.reshape(len(turned), -1) @ (turned @ inner).mT.reshape(len(turned), -1).T
    return np.block([[-count * precision, mixed], [mixed.T, 0.5 * (products + products.T)]])


def _reported(
    mixture: Mixture,
    weights: Float[np.ndarray, " W"],
    log_weights: Float[np.ndarray, "W W"],
    factor: Float[np.ndarray, "D D"],
    directions: Float[np.ndarray, "V D D"],
) -> dict[str, np.ndarray]:
    K, D, W, V = mixture.n_components, mixture.n_features, len(weights), len(directions)
    size = W + K * (D + V)
    of_weights = np.zeros((W, size))
    of_weights[:, :W] = weights[:, None] * log_weights
    means, covariances = np.zeros((K, D, size)), np.zeros((K, D, D, size))
    moved = np.moveaxis(factor @ directions @ factor.T, 0, -1)
    for k in range(K):
        means[k, :, W + k * D : W + (k + 1) * D] = factor
        covariances[k, ..., W + K * D + k * V : W + K * D + (k + 1) * V] = moved
    scales, correlations = np.asarray(mixture.scales), np.asarray(mixture.correlations)
    of_scales = np.diagonal(covariances, axis1=1, axis2=2).mT / (2 * scales[..., None])
    relative = of_scales / scales[..., None]
    products = (scales[:, :, None] * scales[:, None])[..., None]
    of_correlations = covariances / products - correlations[..., None] * (relative[:, :, None] + relative[:, None])
    found = {
        "weights": of_weights[:K],
        "means": means,
        "scales": of_scales,
        "correlations": of_correlations,
        "covariances": covariances,
    }
    return found if mixture.noise is None else found | {"noise_weight": of_weights[-1]}
