"""Work is counted for who listens, and costs and says nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dynsurgeon.progress import OVER, counted, listening

Told = list[tuple[str, int, int | None]]


def test_nobody_listens_by_default() -> None:
    items = iter("abc")
    assert list(counted(items, "letters")) == ["a", "b", "c"]


def test_each_item_is_told_after_it_was_used() -> None:
    told: Told = []
    with listening(lambda *each: told.append(each)):
        for item in counted("ab", "letters"):
            told.append((item, 0, 0))
    assert told == [
        ("letters", 0, 2), ("a", 0, 0), ("letters", 1, 2), ("b", 0, 0), ("letters", 2, 2),
        ("letters", OVER, 2),
    ]  # fmt: skip
    assert list(counted("ab", "letters")) == ["a", "b"]
    assert len(told) == 6


def test_a_loop_that_ends_early_is_over() -> None:
    told: Told = []

    def endless() -> Iterator[int]:
        while True:
            yield 1

    def divide() -> None:
        for number in counted(range(3), "numbers"):
            1 / number

    with listening(lambda *each: told.append(each)):
        for _ in counted(endless(), "ones"):
            break
        with pytest.raises(ZeroDivisionError):
            divide()
    assert [each for each in told if each[1] == OVER] == [
        ("ones", OVER, None),
        ("numbers", OVER, 3),
    ]


def test_another_thread_is_not_heard() -> None:
    told: Told = []
    with listening(lambda *each: told.append(each)):
        thread = threading.Thread(target=lambda: list(counted("ab", "letters")))
        thread.start()
        thread.join()
    assert told == []
