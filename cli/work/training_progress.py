"""What a fine-tuning says on stderr while it runs: lines, and in a terminal a bar below them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dynsurgeon.training.finetune.listener import Listener, Setup

from ..progress import EVERY, duration, pace

if TYPE_CHECKING:
    from rich.progress import TaskID

    from dynsurgeon.training.finetune.results import Epoch, RateProbe, Score
    from dynsurgeon.training.report import AttentionReport

LONG = 2.0
"""Seconds after which what goes on between the steps is told."""


class ProgressLines(Listener):
    """Lines on stderr about all that goes on.

    Args:
        progress: The bar of a terminal, or None for lines alone.
        clock: What the time is read from, in seconds.
    """

    def __init__(
        self, progress: Progress | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.progress, self.clock = progress, clock
        self.task = None if progress is None else progress.add_task("starting", total=None)
        self.batch, self.steps, self.epochs = 0, 1, 0
        self.pace = Pace()
        self.told = self.begun = clock()
        self.side: TaskID | None = None
        self.announced = False

    def loaded(self, setup: Setup) -> None:
        """Say what is trained, on what."""
        self.batch = setup.batch
        processes = f", {setup.processes} processes" if setup.processes > 1 else ""
        self._print(
            f"{setup.train} training and {setup.val} validation images of {setup.classes} classes; "
            f"{setup.epochs} epochs of {setup.steps} steps of {setup.batch} images "
            f"({setup.device}{processes})"
        )
        for name, count in setup.trainable.items():
            all_of = setup.parameters[name]
            self._print(f"{name} network: {count:,} of {all_of:,} parameters are trained")

    def calibrated(self, report: AttentionReport) -> None:
        """Say that training does not begin with a random attention."""
        self._print(f"attention fitted to {report.samples} training images")

    def uncalibrated(self, reason: str) -> None:
        """Say why training begins with a random attention."""
        self._print(reason)

    def probed(self, name: str, probe: RateProbe) -> None:
        """Say which rate was chosen, and from which."""
        losses = (
            f"{rate:g}: {'diverged' if loss is None else f'{loss:.4f}'}"
            for rate, loss in zip(probe.rates, probe.losses, strict=True)
        )
        self._print(
            f"learning rate {probe.chosen:g} for the {name} network (losses after {probe.steps} "
            f"steps, {', '.join(losses)})"
        )

    def started(self, before: Score, steps: int, epochs: int) -> None:
        """Take in how long the run will be."""
        self.steps, self.epochs = steps, epochs
        self._print(f"before: {before.accuracy:.2%} on the validation set")
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, total=steps * epochs, description="training")
        self.told = self.clock()
        self.pace.resume(self.told)

    def step(self, done: int, loss: float) -> None:
        """Move the bar; without one, say now and then how far it is."""
        now = self.clock()
        self.pace.step(done, now)
        if self.progress is not None and self.task is not None:
            text = f"loss {loss:.4f}{self._speed(done)}"
            self.progress.update(self.task, completed=done, description=text)
        elif now - self.told >= EVERY:
            self.told = now
            epoch = (done - 1) // self.steps + 1
            self._print(
                f"step {done} of {self.steps * self.epochs}, epoch {epoch} of {self.epochs}: loss "
                f"{loss:.4f}{self._speed(done)}"
            )

    def epoch(self, epoch: Epoch) -> None:
        """Print the epoch's line."""
        scores = ", ".join(
            f"{name} {score.accuracy:.2%} (train {epoch.train[name].accuracy:.2%}, loss "
            f"{epoch.train[name].loss:.4f})"
            for name, score in epoch.val.items()
        )
        self._print(f"epoch {epoch.number} of {self.epochs}: {scores}")
        self.told = self.clock()
        self.pace.resume(self.told)

    def work(self, what: str, done: int, total: int) -> None:
        """Say what takes its time besides the steps."""
        now = self.clock()
        if done == 0:
            self.begun, self.announced = now, False
        if self.progress is not None:
            self._move(self.progress, what, done, total)
        elif done and (now - self.told if self.announced else now - self.begun) >= self._patience():
            self.told, self.announced = now, True
            self._print(f"{what}: {done} of {total}{pace(done, total, now - self.begun)}")

    def _patience(self) -> float:
        return EVERY if self.announced else LONG

    def _move(self, progress: Progress, what: str, done: int, total: int) -> None:
        if done == 0 and self.side is None:
            self.side = progress.add_task(what, total=total)
        elif self.side is not None:
            told = pace(done, total, self.clock() - self.begun)
            progress.update(self.side, completed=done, description=f"{what}{told}")
        if done == total and self.side is not None:
            progress.remove_task(self.side)
            self.side = None

    def _speed(self, done: int) -> str:
        rate = self.pace.rate
        if rate is None:
            return ""
        left = (self.steps * self.epochs - done) / rate
        return f", {self.batch * rate:.0f} images/s, {duration(left)} left"

    def _print(self, text: str) -> None:
        if self.progress is not None:
            self.progress.console.print(text, highlight=False, markup=False)
        else:
            print(text, file=sys.stderr, flush=True)


class Pace:
    """Steps a second, by the last minute or so of training; evaluations don't count."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._since: float | None = None
        self._done: int | None = None

    def resume(self, now: float) -> None:
        """Training goes on now."""
        self._since, self._done = now, None

    def step(self, done: int, now: float) -> None:
        """So many steps are done."""
        if self._done is not None and self._since is not None and now > self._since:
            latest = (done - self._done) / (now - self._since)
            keep = 0.5 ** ((now - self._since) / 20)
            self.rate = latest if self.rate is None else keep * self.rate + (1 - keep) * latest
        self._since, self._done = now, done


@contextmanager
def training_progress(*, shown: bool) -> Iterator[Listener]:
    """Show how training goes while the block runs; what libraries print goes to stderr."""
    with redirect_stdout(sys.stderr):
        if not shown:
            yield Listener()
        elif not sys.stderr.isatty():
            yield ProgressLines(None)
        else:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
                yield ProgressLines(progress)
