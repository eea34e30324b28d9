"""What a fine-tuning found out, as values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from dynsurgeon.training.report import AttentionReport


@dataclass(frozen=True)
class Score:
    """Cross entropy and accuracy.

    Attributes:
        loss: Mean cross entropy, in nats.
        accuracy: Share of correct answers.
    """

    loss: float
    accuracy: float

    def better_than(self, other: Score) -> bool:
        """Whether the accuracy is higher, or the same at a lower loss."""
        return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)


@dataclass(frozen=True)
class Gain:
    """By how much the dynamic network is better than its static twin, on the same samples.

    Attributes:
        difference: Of the accuracies.
        error: Standard error of the difference as an estimate for other samples like these (paired,
            as in McNemar's test); it says nothing of other seeds.
        samples: Number of samples.
    """

    difference: float
    error: float
    samples: int

    @classmethod
    def from_counts(cls, won: int, lost: int, samples: int) -> Gain:
        """Compute it from the samples that only the dynamic, or only the static one got right."""
        difference = (won - lost) / samples
        variance = (won + lost) / samples - difference**2
        return cls(difference, math.sqrt(max(variance, 0.0) / samples), samples)

    def __str__(self) -> str:
        return f"{100 * self.difference:+.2f} points (standard error {100 * self.error:.2f})"


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set.

    Attributes:
        number: From 1.
        train: Score of each arm over the epoch's training samples, while it was trained.
        val: Score of each arm on the validation set after the epoch.
        temperature: Temperature of the kernel attention after the epoch.
    """

    number: int
    train: dict[str, Score]
    val: dict[str, Score]
    temperature: float | None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Epoch:
        """Build it from `dataclasses.asdict`."""
        parts = {
            key: {name: Score(**score) for name, score in values[key].items()}
            for key in ("train", "val")
        }
        return cls(values["number"], parts["train"], parts["val"], values["temperature"])


@dataclass(frozen=True)
class FinetuneResult:
    """A fine-tuned network, and what was measured.

    Attributes:
        model: The network with the weights of its best epoch, in eval mode, on the device that it
            was trained on. What was given, unless its parameters were sharded: then a copy.
        best_epoch: Each arm's epoch with the highest accuracy on the validation set.
        val: Score of each arm, with the weights of its best epoch.
        before: Score of the dynamic network before its first step.
        gain: Of the dynamic network over its static twin, each with its best epoch's weights.
        history: The epochs.
        steps: Steps of the optimizer.
        processes: Number of processes.
        calibration: Attention of the dynamic network as fitted before its first step, or None where
            it was left as it was.
        twin: The static twin with its best epoch's weights.
        notes: What a reader should know.
    """

    model: nn.Module
    best_epoch: dict[str, int]
    val: dict[str, Score]
    before: Score
    gain: Gain | None
    history: tuple[Epoch, ...]
    steps: int
    processes: int
    calibration: AttentionReport | None = None
    twin: nn.Module | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return what was measured as plain JSON values."""
        return {
            "best_epoch": dict(self.best_epoch),
            "val": {name: asdict(score) for name, score in self.val.items()},
            "before": asdict(self.before),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "gain": None if self.gain is None else asdict(self.gain),
            "history": [asdict(epoch) for epoch in self.history],
            "steps": self.steps,
            "processes": self.processes,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        score, epoch = self.val["dynamic"], self.best_epoch["dynamic"]
        lines = [f"accuracy {score.accuracy:.2%} after epoch {epoch} of {len(self.history)}"]
        if self.gain is not None:
            lines[0] += f"; static twin {self.val['static'].accuracy:.2%}"
            lines.append(f"gain {self.gain}")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
