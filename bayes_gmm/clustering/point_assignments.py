"""The points of a comparison: which component each belongs to by either answer, and how sure that is."""

from dataclasses import dataclass, field

import numpy as np

from bayes_gmm.core.export import Record

CERTAIN = 0.9
"""A point is uncertain when its most probable component has less than this."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Soft assignments by maximum likelihood and by the posterior.

    Attributes
    ----------
    mle_responsibilities : (N, K)
        At the estimate.
    responsibilities, responsibilities_sd : (N, K)
        Posterior mean and sd.
    """

    mle_responsibilities: np.ndarray = field(repr=False)
    responsibilities: np.ndarray = field(repr=False)
    responsibilities_sd: np.ndarray = field(repr=False)

    @property
    def entropy(self) -> np.ndarray:
        """Entropy of the posterior mean responsibilities of each point, (N,), in nats: 0 when its cluster is sure."""
        shares = self.responsibilities
        return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)

    @property
    def uncertain(self) -> np.ndarray:
        """Indices of the points whose most probable component has a posterior probability below 0.9."""
        return np.flatnonzero(self.responsibilities.max(1) < CERTAIN)

    @property
    def changed(self) -> np.ndarray:
        """Indices of the points whose most probable component differs between the two."""
        return np.flatnonzero(self.mle_responsibilities.argmax(1) != self.responsibilities.argmax(1))

    def records(self) -> list[Record]:
        """One dictionary for each point: component and its probability by either answer, sd, entropy."""
        of_mle, own = self.mle_responsibilities.argmax(1), self.responsibilities.argmax(1)
        rows = np.arange(len(own))
        columns = {
            "point": rows,
            "mle_component": of_mle,
            "mle_probability": self.mle_responsibilities[rows, of_mle],
            "component": own,
            "probability": self.responsibilities[rows, own],
            "probability_sd": self.responsibilities_sd[rows, own],
            "entropy": self.entropy,
            "uncertain": self.responsibilities.max(1) < CERTAIN,
            "changed": of_mle != own,
        }
        lists = (values.tolist() for values in columns.values())
        return [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]

    def sentence(self) -> str:
        """How many points the estimate is too sure of."""
        return (
            f"Points that no component holds with probability {CERTAIN}: {len(self.uncertain)} of "
            f"{len(self.responsibilities)}; points that change their cluster: {len(self.changed)}; largest posterior "
            f"sd of a responsibility: {self.responsibilities_sd.max():.2f}."
        )
