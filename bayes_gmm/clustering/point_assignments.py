"""The component of each point by maximum likelihood and by the posterior, and how certain it is."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.export import Record

CERTAIN = 0.9
"""Smallest probability of the most probable component at which the component of a point counts as certain."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Soft assignments of the points of a comparison.

    Attributes
    ----------
    mle_responsibilities : (N, K)
        Responsibilities at the maximum-likelihood estimate.
    responsibilities, responsibilities_sd : (N, K)
        Posterior mean and standard deviation of the responsibilities.
    """

    mle_responsibilities: Float[np.ndarray, "N K"] = field(repr=False)
    responsibilities: Float[np.ndarray, "N K"] = field(repr=False)
    responsibilities_sd: Float[np.ndarray, "N K"] = field(repr=False)

    @property
    def entropy(self) -> Float[np.ndarray, " N"]:
        r"""Entropy \(-\sum_k r_{nk} \log r_{nk}\) of the posterior mean responsibilities of each point, in nats."""
        shares = self.responsibilities
        return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)

    @property
    def uncertain(self) -> Int[np.ndarray, " uncertain"]:
        """Indices of the points whose most probable component has a posterior probability below 0.9."""
        return np.flatnonzero(self.responsibilities.max(1) < CERTAIN)

    @property
    def changed(self) -> Int[np.ndarray, " changed"]:
        """Indices of the points whose most probable component by the posterior is not that by maximum likelihood."""
        return np.flatnonzero(self.mle_responsibilities.argmax(1) != self.responsibilities.argmax(1))

    def records(self) -> list[Record]:
        """One dictionary for each point: most probable component and its probability by both fits, sd and entropy."""
        by_mle, by_posterior = self.mle_responsibilities.argmax(1), self.responsibilities.argmax(1)
        rows = np.arange(len(by_posterior))
        columns = {
            "point": rows,
            "mle_component": by_mle,
            "mle_probability": self.mle_responsibilities[rows, by_mle],
            "component": by_posterior,
            "probability": self.responsibilities[rows, by_posterior],
            "probability_sd": self.responsibilities_sd[rows, by_posterior],
            "entropy": self.entropy,
            "uncertain": self.responsibilities.max(1) < CERTAIN,
            "changed": by_mle != by_posterior,
        }
        lists = (values.tolist() for values in columns.values())
        return [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]

    def sentence(self) -> str:
        """Numbers of uncertain and of changed points, and the largest sd of a responsibility, in one sentence."""
        return (
            f"Points that no component holds with probability {CERTAIN}: {len(self.uncertain)} of "
            f"{len(self.responsibilities)}; points that change their cluster: {len(self.changed)}; largest posterior "
            f"sd of a responsibility: {self.responsibilities_sd.max():.2f}."
        )
