"""Who is told how a run goes on: the command line, a notebook, a log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from dynsurgeon.training.finetune.results import Epoch, RateProbe, Score

if TYPE_CHECKING:
    from dynsurgeon.training.report import AttentionReport

Item = TypeVar("Item")


@dataclass(frozen=True)
class Setup:
    """What a run will train, on what.

    Attributes:
        train: Number of training images.
        val: Number of validation images.
        classes: Number of classes.
        batch: Samples a step, over all processes.
        steps: Steps of an epoch.
        epochs: Number of epochs.
        processes: Number of processes.
        device: Where the first process trains.
        parameters: Each network's parameters.
        trainable: How many of them are trained.
    """

    train: int
    val: int
    classes: int
    batch: int
    steps: int
    epochs: int
    processes: int
    device: str
    parameters: dict[str, int]
    trainable: dict[str, int]


class Listener:
    """Is told what goes on, in every process; this one does nothing. Override what you need."""

    def loaded(self, setup: Setup) -> None:
        """All is ready, and nothing was run yet."""

    def calibrated(self, report: AttentionReport) -> None:
        """The attention was fitted to training images, before the run began."""

    def uncalibrated(self, reason: str) -> None:
        """The attention was left as it was, though it might have been fitted."""

    def probed(self, name: str, probe: RateProbe) -> None:
        """A learning rate was chosen for the network of this name."""

    def started(self, before: Score, steps: int, epochs: int) -> None:
        """The run begins or goes on; an epoch has `steps` steps."""

    def step(self, done: int, loss: float) -> None:
        """So many steps of the run are done, with this mean loss since the epoch began."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is complete, or was before the run was resumed."""

    def work(self, what: str, done: int, total: int) -> None:
        """So much of what goes on between the steps is done, such as an evaluation; 0 at first."""


def watched(items: Iterable[Item], total: int, what: str, listener: Listener) -> Iterator[Item]:
    """Yield the items, and tell the listener each time that one was used."""
    listener.work(what, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        listener.work(what, done, total)
