"""Running sums over an epoch's training samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsurgeon.training.finetune.results import Score


class Tally:
    """Sums an arm's losses and correct answers; reads them from the device now and then.

    Args:
        share: Samples of a step on this process.

    Attributes:
        latest: Mean loss of the steps that were read last.
    """

    def __init__(self, share: int) -> None:
        self.share = share
        self.steps, self.loss, self.correct = 0, 0.0, 0.0
        self.latest = 0.0
        self._pending: list[Tensor] = []

    def add(self, found: Tensor) -> None:
        """Take in a step's mean loss and correct answers ``(2,)``."""
        self._pending.append(found)

    def flush(self) -> bool:
        """Read what is pending, and say whether all losses were finite."""
        if not self._pending:
            return True
        found = torch.stack(self._pending).cpu().double()
        self._pending.clear()
        self.steps += len(found)
        self.loss += float(found[:, 0].sum())
        self.latest = float(found[:, 0].mean())
        self.correct += float(found[:, 1].sum())
        return bool(found[:, 0].isfinite().all())

    @property
    def mean_loss(self) -> float:
        """Mean loss of the steps that were read."""
        return self.loss / max(self.steps, 1)

    def score(self, accelerator: Any) -> Score:
        """Return the score over all processes, and start anew; all processes call it."""
        sums = torch.tensor([self.loss, self.correct, self.steps], dtype=torch.float64)
        if accelerator.num_processes > 1:
            sums = accelerator.reduce(sums.to(accelerator.device)).cpu()
        loss, correct, steps = sums.tolist()
        self.load_state_dict({"steps": 0, "loss": 0.0, "correct": 0.0})
        return Score(loss / steps, correct / (steps * self.share))

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"steps": self.steps, "loss": self.loss, "correct": self.correct}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the sums."""
        self.steps, self.loss, self.correct = state["steps"], state["loss"], state["correct"]
