"""How a fine-tuning looks: progress and epochs on stderr, the result on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dynsurgeon.training.finetune.listener import Listener

from .render import print_table, say

if TYPE_CHECKING:
    from dynsurgeon.training.finetune.results import Epoch, Score
    from dynsurgeon.training.report import AttentionReport


class ProgressLines(Listener):
    """A line on stderr for each epoch, and in a terminal a bar below them."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.epochs = 0
        self.task = None if progress is None else progress.add_task("starting", total=None)

    def calibrated(self, report: AttentionReport) -> None:
        """Say that training does not begin with a random attention."""
        self._print(f"attention fitted to {report.samples} training images")

    def started(self, before: Score, steps: int, epochs: int) -> None:
        """Take in how long the run will be."""
        self.epochs = epochs
        self._print(f"before: {before.accuracy:.2%} on the validation set")
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, total=steps * epochs, description="training")

    def step(self, done: int, loss: float) -> None:
        """Move the bar."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=done, description=f"loss {loss:.4f}")

    def epoch(self, epoch: Epoch) -> None:
        """Print the epoch's line."""
        scores = ", ".join(
            f"{name} {score.accuracy:.2%} (train {epoch.train[name].accuracy:.2%}, loss "
            f"{epoch.train[name].loss:.4f})"
            for name, score in epoch.val.items()
        )
        self._print(f"epoch {epoch.number} of {self.epochs}: {scores}")

    def _print(self, text: str) -> None:
        if self.progress is not None:
            self.progress.console.print(text, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)


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
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
                yield ProgressLines(progress)


def print_result(document: Mapping[str, Any], directory: Path) -> None:
    """Print the networks side by side, the gain, and what to do next."""
    found = document["finetuned"]
    rows = [("dynamic, before", "-", f"{found['before']['accuracy']:.2%}", "-")]
    for name, score in found["val"].items():
        number = found["best_epoch"][name]
        train = found["history"][number - 1]["train"][name]["accuracy"]
        rows.append((name, str(number), f"{score['accuracy']:.2%}", f"{train:.2%}"))
    print_table(("network", "best epoch", "accuracy", "in training"), rows)
    if found["gain"] is not None:
        gain = found["gain"]
        say(
            f"gain over the static network: {100 * gain['difference']:+.2f} points, standard "
            f"error {100 * gain['error']:.2f} on {gain['samples']} images"
        )
    if found["calibration"] is not None:
        say(f"the attention was fitted to {found['calibration']['samples']} training images first")
    for line in found["notes"]:
        say(f"note: {line}")
    say(f"wrote {directory}; next: dynsurgeon export {directory}")
