"""Who is told how a run goes on: the command line, a notebook, a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dynsurgeon.training.finetune.results import Epoch, Score

if TYPE_CHECKING:
    from dynsurgeon.training.report import AttentionReport


class Listener:
    """Is told what goes on, in every process; this one does nothing. Override what you need."""

    def calibrated(self, report: AttentionReport) -> None:
        """The attention was fitted to training images, before the run began."""

    def started(self, before: Score, steps: int, epochs: int) -> None:
        """The run begins or goes on; an epoch has `steps` steps."""

    def step(self, done: int, loss: float) -> None:
        """So many steps of the run are done, with this mean loss since the epoch began."""

    def epoch(self, epoch: Epoch) -> None:
        """An epoch is complete, or was before the run was resumed."""
