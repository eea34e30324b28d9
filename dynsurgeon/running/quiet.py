"""Keep a thread's remarks to itself: its log, its warnings and what it prints.

`logging.disable`, `warnings.catch_warnings` and `contextlib.redirect_stdout` would silence the
whole process. What is put into the process here for a while asks which thread speaks.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import get_ident
from typing import Any, TextIO


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what this thread logs up to a warning, warns of and prints; errors are still logged."""
    with ExitStack() as stack:
        stack.enter_context(_quiet_log())
        stack.enter_context(quiet_warnings())
        for name in ("stdout", "stderr"):
            stack.enter_context(printing_to(io.StringIO(), name))
        yield


@contextmanager
def printing_to(target: TextIO, name: str = "stdout") -> Iterator[None]:
    """Have what this thread prints go to `target`.

    Args:
        target: A text stream.
        name: The stream of `sys` that it stands for, ``"stdout"`` or ``"stderr"``.
    """
    stream = getattr(sys, name)
    if stream is None:  # a process without a console prints nowhere
        yield
        return
    diverted = _Diverted(stream, target)
    setattr(sys, name, diverted)
    try:
        yield
    finally:
        diverted.thread = None
        if getattr(sys, name) is diverted:  # or another thread has put its own there, around it
            setattr(sys, name, stream)


class _Diverted:
    """A text stream that is another one to one thread."""

    def __init__(self, stream: TextIO, target: TextIO) -> None:
        self.stream, self.target = stream, target
        self.thread: int | None = get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target if get_ident() == self.thread else self.stream, name)


@contextmanager
def _quiet_log() -> Iterator[None]:
    # A logger's filter sees what is logged to it alone, a handler's what comes from below as well.
    thread = get_ident()

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING or record.thread != thread

    handlers = _handlers()
    for handler in handlers:
        handler.filters = [*handler.filters, passes]  # not in place: others may go through the list
    try:
        yield
    finally:
        for handler in handlers:
            handler.filters = [each for each in handler.filters if each is not passes]


def _handlers() -> list[logging.Handler]:
    places = [logging.root, *logging.root.manager.loggerDict.copy().values()]
    found = [h for place in places if isinstance(place, logging.Logger) for h in place.handlers]
    last = [] if logging.lastResort is None else [logging.lastResort]
    return list(dict.fromkeys([*found, *last]))


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Ignore what this thread warns of."""
    entry: Any = ("ignore", _Here(), Warning, None, 0)
    filters = warnings.filters
    filters.insert(0, entry)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for place in (filters, warnings.filters):  # another thread's `catch_warnings` copies it
            if entry in place:
                place.remove(entry)  # type: ignore[attr-defined]


class _Here:
    """Stands for the pattern of a warning's text in a filter; matches whatever this thread says."""

    def __init__(self) -> None:
        self._thread = get_ident()

    def match(self, text: str) -> bool:
        """Whether the filter applies to a warning."""
        return get_ident() == self._thread
