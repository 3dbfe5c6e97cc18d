"""How a fit by maximum likelihood ended, and what to do about it."""

from enum import IntEnum


class EMStatus(IntEnum):
    """How a run of EM ended; `advice` says what to do about it."""

    CONVERGED = 0
    MAX_STEPS = 1
    COLLAPSED = 2
    NONFINITE = 3
    LEFT_BEHIND = 4

    @property
    def failed(self) -> bool:
        """Whether the run ended without a mixture that can be used: it collapsed, or its value was not finite."""
        return self in (EMStatus.COLLAPSED, EMStatus.NONFINITE)

    @property
    def advice(self) -> str:
        """What it means and what to do."""
        return _ADVICE[self]


_ADVICE = {
    EMStatus.CONVERGED: "The log-likelihood has no more than tol left to gain here.",
    EMStatus.MAX_STEPS: "The log-likelihood was still rising: raise max_steps, or tol if you need less.",
    EMStatus.COLLAPSED: (
        "A component shrank onto a few points or a line, where the likelihood has no upper bound, "
        "or lost all its points: "
        "use fewer components, look for repeated rows, give a ConjugatePrior, or take the posterior, "
        "whose prior rules this out."
    ),
    EMStatus.NONFINITE: "The log-likelihood became NaN or infinite: look for extreme values in the data.",
    EMStatus.LEFT_BEHIND: (
        "Other starts were ahead, or most had come to one maximum far above, and this one was not followed to its end."
    ),
}


class StreamStatus(IntEnum):
    """How a stream ended; `advice` says what to do about it. The numbers are those of `EMStatus`."""

    LEARNED = 0
    COLLAPSED = 2
    NONFINITE = 3

    @property
    def failed(self) -> bool:
        """Whether the stream ended before its last batch, because a component collapsed or a batch was not finite."""
        return self is not StreamStatus.LEARNED

    @property
    def advice(self) -> str:
        """What it means and what to do."""
        return _STREAM_ADVICE[self]


_STREAM_ADVICE = {
    StreamStatus.LEARNED: "All batches were learned from; look at the path for a drift.",
    StreamStatus.COLLAPSED: (
        "A component lost its points, or shrank onto a few points or a line: use larger batches or fewer components, "
        "and shuffle the stream if its order means something. The mixture is the one before that batch."
    ),
    StreamStatus.NONFINITE: (
        "The log density of a batch became NaN or infinite: look for extreme values in it. "
        "The mixture is the one before that batch."
    ),
}
