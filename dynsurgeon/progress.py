"""How far a long step is, for whoever listens; nobody does unless `listening` says so.

Work deep inside counts what it goes through, and knows nothing of bars and terminals. Who listens
is kept for the thread alone, and no function has to hand it on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")

Counter = Callable[[str, int, int | None], None]
"""Is told what is counted, how many are done, and of how many, if that is known.

It is told 0 at first, and at the end -1, whether all were done or not."""

OVER = -1

_listener: ContextVar[Counter | None] = ContextVar("dynsurgeon_progress", default=None)


@contextmanager
def listening(counter: Counter) -> Iterator[None]:
    """Have this thread's work counted for `counter` while the block runs."""
    token = _listener.set(counter)
    try:
        yield
    finally:
        _listener.reset(token)


def counted(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items, and tell who listens each time that one was used.

    Args:
        items: What is gone through.
        what: What they are, such as ``"batches"``.
        total: How many they are, if they don't tell themselves.
    """
    tell = _listener.get()
    if tell is None:
        yield from items
        return
    if total is None:
        total = len(items) if isinstance(items, Sized) else None
    tell(what, 0, total)
    try:
        for done, item in enumerate(items, 1):
            yield item
            tell(what, done, total)
    finally:
        tell(what, OVER, total)
