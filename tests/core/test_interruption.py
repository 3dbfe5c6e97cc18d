"""Ctrl-C ends an iteration, keeps what was made, and is raised again where that is too little."""

from collections import deque
from collections.abc import Iterator

import pytest

from bayes_gmm.core.interruption import until_interrupted


def squares(n: int, interrupted_at: int | None = None) -> Iterator[int]:
    for number in range(n):
        if number == interrupted_at:
            raise KeyboardInterrupt("at the keyboard")
        yield number**2


def test_without_an_interrupt_all_items_come() -> None:
    items = until_interrupted(squares(4))
    assert list(items) == [0, 1, 4, 9]
    assert not items.interrupted
    items.reraise_unless([])


def test_an_interrupt_ends_the_iteration_and_keeps_what_was_made() -> None:
    items = until_interrupted(squares(4, interrupted_at=2))
    assert list(items) == [0, 1]
    assert items.interrupted
    items.reraise_unless([0, 1])
    assert list(items) == []


def test_an_iterable_that_could_go_on_is_not_asked_again() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise KeyboardInterrupt
        return number

    items = until_interrupted(map(work, range(9)))
    assert list(items) == [0, 1]
    assert list(items) == []


def test_the_interrupt_is_raised_again_where_nothing_was_made() -> None:
    items = until_interrupted(squares(4, interrupted_at=0))
    assert not list(items)
    with pytest.raises(KeyboardInterrupt, match="at the keyboard"):
        items.reraise_unless([])


def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError):
        list(until_interrupted(1 // number for number in (1, 0)))


def test_the_last_item_before_an_interrupt_can_be_kept_alone() -> None:
    items = until_interrupted(squares(9, interrupted_at=4))
    assert list(deque(items, maxlen=1)) == [9]
    assert items.interrupted
