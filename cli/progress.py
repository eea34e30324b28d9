"""How a command says how far it is: a bar in a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dynsurgeon.progress import OVER, listening

EVERY = 10.0
"""Seconds between lines, where there is no bar."""


@dataclass
class _Count:
    """Something that is gone through: what, since when, and how far."""

    what: str
    since: float
    total: int | None
    done: int = 0
    at: float = 0.0
    """When the last one was done: what goes on since says nothing of the rate."""

    def told(self, now: float) -> str:
        """Say how far it is, how fast, and for how long it will go on."""
        of_all = f"{self.done}" if self.total is None else f"{self.done} of {self.total}"
        how_fast = pace(self.done, self.total, self.at - self.since, now - self.at)
        return f"{of_all} {self.what}{how_fast}"


class Steps:
    """Is told what a command does, by itself and, from deep inside, by `counted`.

    Args:
        bar: The bar of a terminal, or None for lines on stderr.
        clock: What the time is read from, in seconds.
    """

    def __init__(self, bar: Progress | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.bar, self.clock = bar, clock
        self.what, self.begun = "starting", clock()
        self.counts: list[_Count] = []
        self.task = None if bar is None else bar.add_task(self.what, total=None, told="")

    def __call__(self, what: str) -> None:
        """Say what is being done now."""
        self.what, self.begun = what, self.clock()
        self._show(anew=True)

    def count(self, what: str, done: int, total: int | None) -> None:
        """Take in how far something is; what is counted inside something else is not shown."""
        if done == 0:
            self.counts.append(_Count(what, self.clock(), total))
            self._show(anew=True)
        elif done == OVER:
            last = max((i for i, each in enumerate(self.counts) if each.what == what), default=0)
            del self.counts[last:]
            self._show(anew=True)
        elif found := next((each for each in self.counts[::-1] if each.what == what), None):
            found.done, found.at = done, self.clock()
            self._show()

    @contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """Say what is being done, and leave the terminal to the bars of libraries meanwhile."""
        self(what)
        if self.bar is not None:
            self.bar.stop()
        try:
            yield
        finally:
            if self.bar is not None:
                self.bar.start()

    def line(self) -> str:
        """Return all of it on one line."""
        now, shown = self.clock(), self._shown()
        how_far = f"{now - self.begun:.0f} s" if shown is None else shown.told(now)
        return f"{self.what}: {how_far}"

    def _shown(self) -> _Count | None:
        return next((each for each in self.counts if each.total != 1), None)

    def _show(self, *, anew: bool = False) -> None:
        if self.bar is None or self.task is None:
            return
        shown = self._shown()
        total = None if shown is None else shown.total
        if anew:  # a bar can't go back to an unknown total
            self.bar.remove_task(self.task)
            self.task = self.bar.add_task(self.what, total=total, told="")
        if shown is not None:
            text = shown.told(self.clock())
            self.bar.update(self.task, completed=shown.done, told=text)


def pace(done: int, total: int | None, seconds: float, since: float = 0.0) -> str:
    """Return rate and time left, each after a comma; nothing before the first is done.

    Args:
        done: How many are done.
        total: Of how many, if that is known.
        seconds: What they took.
        since: Seconds since the last of them.
    """
    if done < 1 or seconds <= 0:
        return ""
    rate = done / seconds
    text = f", {rate:.1f} a second" if rate >= 1 else f", {1 / rate:.1f} s each"
    if total is None:
        return text
    left = max((total - done) / rate - since, 0.0)
    return f"{text}, {duration(left)} left"


def duration(seconds: float) -> str:
    """Return a time in words, such as ``"1 h 20 min"`` or ``"35 s"``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def steps() -> Iterator[Steps]:
    """Show what is being done, and how far it is, while the block runs.

    What libraries print meanwhile goes to stderr, so that stdout holds the result and nothing else.
    """
    with redirect_stdout(sys.stderr):
        if sys.stderr.isatty():
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[told]}", markup=False),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                told = Steps(bar)
                with listening(told.count):
                    yield told
        else:
            told = Steps(None)
            with _lines(told), listening(told.count):
                yield told


@contextmanager
def _lines(told: Steps) -> Iterator[None]:
    # A thread of its own: much of the work is one long call into a library.
    over, stream = threading.Event(), sys.stderr

    def say() -> None:
        while not over.wait(EVERY):
            print(told.line(), file=stream, flush=True)

    thread = threading.Thread(target=say, name="dynsurgeon-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
