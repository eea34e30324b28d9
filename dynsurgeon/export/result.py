"""What verification found: plain values that print, compare and go into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Timings:
    """By what ``"auto"`` chose, all in milliseconds, medians on this machine.

    Attributes:
        threads: Threads of an operator.
        batch: Samples in the batch.
        files: What each layout of the whole file took.
        sites: What each form of each convolution took, by its bank, on its own.
        chosen: The form that each convolution got.
    """

    threads: int
    batch: int
    files: Mapping[str, float]
    sites: Mapping[str, Mapping[str, float]]
    chosen: Mapping[str, str]

    def __str__(self) -> str:
        ordered = sorted(self.files.items(), key=lambda item: item[1])
        files = ", ".join(f"{name} {ms:.3g} ms" for name, ms in ordered)
        return f"measured at batch {self.batch} with {self.threads} threads: {files}"


@dataclass(frozen=True)
class ExportCheck:
    """One comparison of onnxruntime with torch.

    Attributes:
        name: What was compared, such as ``"perturbed, batch 3, permuted"``.
        batch: Samples in the batch.
        max_abs: Largest difference of any output.
        max_rel: The same, over the largest value of that output in torch.
        passed: Whether every output stayed within the tolerance.
    """

    name: str
    batch: int
    max_abs: float
    max_rel: float
    passed: bool


@dataclass(frozen=True)
class ExportResult:
    """A written ONNX file and how well it was found to agree with torch.

    Attributes:
        path: The file.
        form: Layout of the file, one of `target.EXPORT_FORMS`.
        opset: Version of the ONNX operator set.
        batch: The fixed batch, or None where it is free.
        inputs: Shape of each input by its name; free axes by their names.
        outputs: Shape of each output by its name.
        checks: Every comparison.
        half: Whether the kernel banks are stored in half precision.
        timings: By what the form was chosen, if that was measured.
    """

    path: Path
    form: str
    opset: int
    batch: int | None
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    checks: tuple[ExportCheck, ...]
    half: bool = False
    timings: Timings | None = None

    @property
    def passed(self) -> bool:
        """Whether every comparison stayed within the tolerance."""
        return all(check.passed for check in self.checks)

    @property
    def max_abs(self) -> float:
        """Largest difference of all comparisons."""
        return max((check.max_abs for check in self.checks), default=0.0)

    @property
    def max_rel(self) -> float:
        """Largest relative difference of all comparisons."""
        return max((check.max_rel for check in self.checks), default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "path": str(self.path),
            "passed": self.passed,
            "max_abs": self.max_abs,
            "max_rel": self.max_rel,
            "form": self.form,
            "half": self.half,
            "timings": None if self.timings is None else asdict(self.timings),
            "opset": self.opset,
            "batch": self.batch,
            "inputs": {name: list(shape) for name, shape in self.inputs.items()},
            "outputs": {name: list(shape) for name, shape in self.outputs.items()},
            "checks": [asdict(check) for check in self.checks],
        }


def shape_of(value: ir.Value) -> Shape:
    """Return a value's shape, free axes as their names."""
    return tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape or ())
