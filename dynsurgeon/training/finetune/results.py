"""What a fine-tuning found out, as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dynsurgeon.html_table import html_table

if TYPE_CHECKING:
    from torch import nn

    from dynsurgeon.training.finetune.cost import Cost
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
        lag: How far each arm's running BatchNorm statistics, as momentum found them, were from
            what the weights make of training images: see `BatchNormReport.worst`. Empty where that
            was not looked at.
    """

    number: int
    train: dict[str, Score]
    val: dict[str, Score]
    temperature: float | None
    lag: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Epoch:
        """Build it from `dataclasses.asdict`."""
        parts = {
            key: {name: Score(**score) for name, score in values[key].items()}
            for key in ("train", "val")
        }
        lag = dict(values.get("lag", {}))
        return cls(values["number"], parts["train"], parts["val"], values["temperature"], lag)


@dataclass(frozen=True)
class RateProbe:
    """What short runs said of learning rates.

    Attributes:
        rates: The rates that were tried, in order.
        losses: Mean cross entropy after each run, on held-out training images; None where it is no
            finite number.
        chosen: The rate that was taken: see `choose`.
        steps: Steps of each run.
        samples: Number of held-out images.
    """

    rates: tuple[float, ...]
    losses: tuple[float | None, ...]
    chosen: float
    steps: int
    samples: int

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RateProbe:
        """Build it from `dataclasses.asdict`."""
        rest = {name: values[name] for name in ("chosen", "steps", "samples")}
        return cls(rates=tuple(values["rates"]), losses=tuple(values["losses"]), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "rates": list(self.rates), "losses": list(self.losses)}


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
        parameters: Number of each arm's parameters.
        cost: Latency of the network beside its twin's, where it was measured.
        rates: Each arm's largest learning rate.
        probes: How it was chosen, where it was.
        notes: What a reader should know.
        verdict: What the gain is worth, and where there is none the likely reason; None without a
            twin.
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
    parameters: dict[str, int] = field(default_factory=dict)
    cost: Cost | None = None
    rates: dict[str, float] = field(default_factory=dict)
    probes: dict[str, RateProbe] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=())
    verdict: str | None = None

    @property
    def gain_per_percent(self) -> float | None:
        """Points of accuracy for each percent of latency; None without both, or if it is free."""
        if self.gain is None or self.cost is None or self.cost.ratio <= 1:
            return None
        return self.gain.difference / (self.cost.ratio - 1)

    def to_dict(self) -> dict[str, Any]:
        """Return what was measured as plain JSON values."""
        return {
            "best_epoch": dict(self.best_epoch),
            "val": {name: asdict(score) for name, score in self.val.items()},
            "before": asdict(self.before),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "gain": None if self.gain is None else asdict(self.gain),
            "parameters": dict(self.parameters),
            "cost": None if self.cost is None else asdict(self.cost),
            "gain_per_percent": self.gain_per_percent,
            "verdict": self.verdict,
            "rates": dict(self.rates),
            "probes": {name: probe.to_dict() for name, probe in self.probes.items()},
            "history": [asdict(epoch) for epoch in self.history],
            "steps": self.steps,
            "processes": self.processes,
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        title, *more = (line for line in str(self).splitlines() if not line.startswith("note: "))
        arms = list(self.val)
        header = ["epoch"]
        for arm in arms:
            header += [f"{arm}, validation", f"{arm}, in training"]
        rows = [
            (str(epoch.number), *(
                f"{score[arm].accuracy:.2%}" for arm in arms for score in (epoch.val, epoch.train)
            ))
            for epoch in self.history
        ]  # fmt: skip
        return html_table(header, rows, title=title, notes=(*more, *self.notes))

    def __str__(self) -> str:
        score, epoch = self.val["dynamic"], self.best_epoch["dynamic"]
        lines = [f"accuracy {score.accuracy:.2%} after epoch {epoch} of {len(self.history)}"]
        if self.gain is not None:
            lines[0] += f"; static twin {self.val['static'].accuracy:.2%}"
            lines.append(f"gain {self.gain}")
        if self.verdict is not None:
            lines.append(self.verdict)
        if self.cost is not None:
            lines.append(str(self.cost))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
