"""The component of each point by maximum likelihood and by the posterior, and how certain it is."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from bayes_gmm.core.export import Record
from bayes_gmm.mixture.noise import most_probable, noise_share

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
        Posterior mean and standard deviation of the responsibilities; with noise they sum to one less its share.
    noise_sd : (N,)
        Posterior standard deviation of the share of noise, or None without noise.
    """

    mle_responsibilities: Float[np.ndarray, "N K"] = field(repr=False)
    responsibilities: Float[np.ndarray, "N K"] = field(repr=False)
    responsibilities_sd: Float[np.ndarray, "N K"] = field(repr=False)
    noise_sd: Float[np.ndarray, " N"] | None = field(repr=False, default=None)

    @property
    def components(self) -> Int[np.ndarray, " N"]:
        """Most probable component of each point by the posterior, -1 for noise."""
        return most_probable(self.responsibilities)

    @property
    def mle_components(self) -> Int[np.ndarray, " N"]:
        """Most probable component of each point by maximum likelihood, -1 for noise."""
        return most_probable(self.mle_responsibilities)

    @property
    def entropy(self) -> Float[np.ndarray, " N"]:
        r"""Entropy \(-\sum_k r_{nk} \log r_{nk}\) of the posterior mean responsibilities of each point, in nats.

        Noise counts as one more.
        """
        shares = self._with_noise(self.responsibilities)
        return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1)

    @property
    def uncertain(self) -> Int[np.ndarray, " uncertain"]:
        """Indices of the points whose most probable component has a posterior probability below 0.9."""
        return np.flatnonzero(self._with_noise(self.responsibilities).max(1) < CERTAIN)

    @property
    def changed(self) -> Int[np.ndarray, " changed"]:
        """Indices of the points whose most probable component by the posterior is not that by maximum likelihood."""
        return np.flatnonzero(self.mle_components != self.components)

    def records(self) -> list[Record]:
        """One dictionary for each point: most probable component and its probability by both fits, sd and entropy."""
        by_mle, by_posterior = self.mle_components, self.components
        rows = np.arange(len(by_posterior))
        # Noise, -1, is the last column.
        mle_shares, shares = self._with_noise(self.mle_responsibilities), self._with_noise(self.responsibilities)
        sds = (
            self.responsibilities_sd
            if self.noise_sd is None
            else np.column_stack([self.responsibilities_sd, self.noise_sd])
        )
        columns = {
            "point": rows,
            "mle_component": by_mle,
            "mle_probability": mle_shares[rows, by_mle],
            "component": by_posterior,
            "probability": shares[rows, by_posterior],
            "probability_sd": sds[rows, by_posterior],
            "entropy": self.entropy,
            "uncertain": shares.max(1) < CERTAIN,
            "changed": by_mle != by_posterior,
        }
        if self.noise_sd is not None:
            columns |= {"mle_noise_probability": mle_shares[:, -1], "noise_probability": shares[:, -1]}
        lists = (values.tolist() for values in columns.values())
        return [dict(zip(columns, values, strict=True)) for values in zip(*lists, strict=True)]

    def sentence(self) -> str:
        """Numbers of uncertain and of changed points, and the largest sd of a responsibility, in one sentence."""
        noise = ""
        if self.noise_sd is not None:
            by_mle, by_posterior = int((self.mle_components < 0).sum()), int((self.components < 0).sum())
            noise = f" Points that are most probably noise: {by_posterior} by the posterior, {by_mle} by the estimate."
        return (
            f"Points that no component holds with probability {CERTAIN}: {len(self.uncertain)} of "
            f"{len(self.responsibilities)}; points that change their cluster: {len(self.changed)}; largest posterior "
            f"sd of a responsibility: {self.responsibilities_sd.max():.2f}.{noise}"
        )

    def _with_noise(self, shares: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N _"]:
        """Shares of the components, and of noise as a last column where there is any."""
        return shares if self.noise_sd is None else np.column_stack([shares, noise_share(shares)])
