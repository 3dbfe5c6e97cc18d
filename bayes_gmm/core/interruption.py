"""Long loops that Ctrl-C ends early without losing what they have made."""

from collections.abc import Iterable, Iterator


class UntilInterrupted[Item](Iterator[Item]):
    """Items of an iterable, until it has no more or Ctrl-C is pressed while it makes one.

    `interruption` is the KeyboardInterrupt that ended the iteration, or None.
    """

    def __init__(self, iterable: Iterable[Item]) -> None:
        self._items = iter(iterable)
        self.interruption: KeyboardInterrupt | None = None

    def __next__(self) -> Item:
        if self.interruption is not None:
            raise StopIteration
        try:
            return next(self._items)
        except KeyboardInterrupt as interruption:
            self.interruption = interruption
        raise StopIteration

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the iteration."""
        return self.interruption is not None

    def reraise_unless(self, worth_keeping: object) -> None:
        """Raise the interruption, if there was one, where too little was made before it to be of use."""
        if self.interruption is not None and not worth_keeping:
            raise self.interruption


def until_interrupted[Item](iterable: Iterable[Item]) -> UntilInterrupted[Item]:
    """Iterate until Ctrl-C, which ends the iteration instead of the program.

    The work must be done by the iterable, for instance by a generator: an interrupt in the body of the caller's loop is
    not caught. `list(until_interrupted(...))` has no such body.

    Examples
    --------
    >>> def replicates():
    ...     yield 1
    ...     raise KeyboardInterrupt
    >>> items = until_interrupted(replicates())
    >>> list(items), items.interrupted
    ([1], True)
    """
    return UntilInterrupted(iterable)
