"""What of a component's covariance is its own, and the moments of two components together."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.likelihood.moments import Moments
from bayes_gmm.objective.degeneracy import SMALLEST_SCALE

LEAST_VARIANCE = SMALLEST_SCALE**2
"""Variance in unit coordinates below which none is believed: it is added where rows that tie would leave none."""


class CovarianceShape(NamedTuple):
    """What a structure lets components have of their own: `kind` is "full", "diagonal" or "spherical"."""

    kind: str
    shared: bool

    @classmethod
    def of(cls, structure: str) -> "CovarianceShape":
        """Of a structure by its code."""
        kind = "spherical" if structure[1] == "I" else "diagonal" if structure[2] == "I" else "full"
        return cls(kind, shared=not structure.count("V"))

    def log_determinants(self, covariances: Float[np.ndarray, "*batch D D"]) -> Float[np.ndarray, " *batch"]:
        """Logarithms of the determinants of covariances of that kind."""
        if self.kind == "full":
            return np.linalg.slogdet(covariances)[1]
        variances = np.diagonal(covariances, axis1=-2, axis2=-1)
        if self.kind == "diagonal":
            return np.log(variances).sum(-1)
        return variances.shape[-1] * np.log(variances.mean(-1))

    def n_parameters(self, n_features: int) -> int:
        """Number of parameters of one component: its weight, its mean, and its covariance where that is its own."""
        sizes = {"full": n_features * (n_features + 1) // 2, "diagonal": n_features, "spherical": 1}
        return 1 + n_features + (0 if self.shared else sizes[self.kind])

    def fewest_points(self, n_features: int) -> int:
        """Number of points of a component below which its covariance is singular, or it is lost."""
        return 1 if self.shared else n_features + 1 if self.kind == "full" else 2

    def seen(self, covariances: Float[np.ndarray, "*batch D D"]) -> Float[np.ndarray, "*batch D D"]:
        """Covariances (..., D, D) without what components of this kind do not have."""
        if self.kind == "full":
            return covariances
        identity = np.eye(covariances.shape[-1])
        if self.kind == "diagonal":
            return covariances * identity
        return np.trace(covariances, axis1=-2, axis2=-1)[..., None, None] / len(identity) * identity


def pair_moments(moments: Moments, first: Int[np.ndarray, " P"], second: Int[np.ndarray, " P"]) -> Moments:
    """Moments of the points of two components together, for each pair."""
    counts, means, covariances = moments
    total = counts[first] + counts[second]
    share = counts[first] / total
    apart = means[first] - means[second]
    within = share[:, None, None] * covariances[first] + (1 - share)[:, None, None] * covariances[second]
    between = (share * (1 - share))[:, None, None] * apart[:, :, None] * apart[:, None, :]
    return Moments(total, share[:, None] * means[first] + (1 - share)[:, None] * means[second], within + between)
