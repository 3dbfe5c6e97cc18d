"""The result of a stream: the mixture, how it ended, and how well each batch was predicted."""

from dataclasses import dataclass, field

import numpy as np

from bayes_gmm.errors import FitError
from bayes_gmm.mixture.covariance_structures import Structure
from bayes_gmm.mixture.mixture import Mixture
from bayes_gmm.mle.status import StreamStatus


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamFit:
    """Gaussian mixture learned from a stream of batches.

    Attributes
    ----------
    mixture
        Mixture of the averaged statistics, in data units; components ordered by the mean of the first feature.
    n_points, n_batches
        How many points and batches were learned from.
    path : (n_batches,)
        Mean log density of a point of each batch before it was learned from (prequential score, Dawid 1984,
        doi 10.2307/2981683). Without a given start the first one is of the fit to that batch itself.
    status
        How the stream ended.
    interrupted
        Whether Ctrl-C ended it.
    structure
        Structure of the covariances (`covariance_structures`).
    columns
        Names of the columns.
    degeneracies
        Where a stream that failed ended: columns, values or rows of that batch, which leave a component without a
        covariance.
    n_left_out
        How many rows had missing cells, and were left out.
    """

    mixture: Mixture
    n_points: int
    n_batches: int
    path: np.ndarray
    status: StreamStatus
    interrupted: bool
    structure: Structure = field(repr=False)
    columns: tuple[str, ...] = field(repr=False)
    degeneracies: tuple[str, ...] = ()
    n_left_out: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixture", self.mixture.with_columns(self.columns))

    def check(self) -> "StreamFit":
        """Return this fit, or raise `FitError` when a component collapsed or a batch was not finite."""
        if self.status.failed:
            raise FitError(self.ending, "a stream that can be learned from to its end", self.status.advice)
        return self

    @property
    def ending(self) -> str:
        """How a stream that failed ended, in words."""
        found = f"The stream ended {self.status.name} after {self.n_batches} batches."
        return " ".join((found, *(f"In the next batch: {what}" for what in self.degeneracies)))

    def __repr__(self) -> str:
        interrupted = ", interrupted" if self.interrupted else ""
        left_out = f", {self.n_left_out} rows with missing cells left out" if self.n_left_out else ""
        latest = f", {self.path[-1]:.6f} nats a point in the last" if len(self.path) else ""
        return (
            f"StreamFit: {self.mixture.n_components} components, {self.n_points} points, {len(self.columns)} features\n"
            f"  {self.status.name} from {self.n_batches} batches{interrupted}{left_out}{latest}"
        )
