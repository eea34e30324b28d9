"""What a plan says of each call site, and of the whole network's time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Site:
    """One row of a plan.

    Attributes:
        name: Dotted name of the call site.
        operation: What it is: ``"Conv2d"``, ``"ReLU"``, ``"F.relu"``.
        owner: Dotted name of the module whose forward makes the call (``""`` is the model itself).
        input_shape: Shape of its first input, or None if it was never called.
        operator: The dynamic operator it becomes, or None.
        reason: Why it stays static, or None.
        params_before: Its parameters now.
        params_after: Its parameters after conversion.
        macs_before: Its multiply-accumulates a sample now.
        macs_after: Its multiply-accumulates a sample after conversion.
        experts: Kernels that a budget chose for it, where it chose.
        measured_ms: Milliseconds that it adds, measured alone for a latency budget.
    """

    name: str
    operation: str
    owner: str
    input_shape: tuple[int, ...] | None
    operator: str | None
    reason: str | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    experts: int | None = None
    measured_ms: float | None = None

    @property
    def is_converted(self) -> bool:
        """Whether this site becomes dynamic."""
        return self.operator is not None

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain JSON values, without what no budget has chosen or measured."""
        values = asdict(self)
        chosen = ("experts", "measured_ms")
        return {k: v for k, v in values.items() if v is not None or k not in chosen}


@dataclass(frozen=True)
class Latency:
    """What the whole network takes, static and as planned, in onnxruntime at batch 1.

    Attributes:
        static_ms: Median milliseconds of the static network.
        dynamic_ms: Median milliseconds of the dynamic one, timed in the same rounds.
        ratio: Their ratio, or the median of the ratios round by round if that is larger.
        form: Layout of the dynamic network's ONNX file.
        threads: Threads of an operator.
    """

    static_ms: float
    dynamic_ms: float
    ratio: float
    form: str
    threads: int
