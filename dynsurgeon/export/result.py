"""What verification found: plain values that print, compare and go into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from dynsurgeon.export.detectors.matching import MatchedBoxes, box_notes
from dynsurgeon.form_names import Rounding
from dynsurgeon.html_table import html_table

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
        passed: Whether every output stayed within the tolerance, or was found to miss it by the
            network's own rounding.
        float64_rel: Where the tolerance was missed: the farthest output's difference from torch in
            float64, over its largest value there.
        float64_allowed: What was allowed of that; a multiple of what float32 in torch is off.
        boxes: How many boxes of a detector match. Then `max_abs` is in pixels, and `max_rel` the
            larger one of that over the image's longer side, and of a score's difference.
    """

    name: str
    batch: int
    max_abs: float
    max_rel: float
    passed: bool
    float64_rel: float | None = None
    float64_allowed: float | None = None
    boxes: MatchedBoxes | None = None

    @property
    def verdict(self) -> str:
        """What float64 says, to be added to a sentence; nothing if it was not asked."""
        if self.float64_rel is None or self.float64_allowed is None:
            return ""
        return (
            f", and {self.float64_rel:.3g} from the network in float64, where its own rounding "
            f"explains {self.float64_allowed:.3g}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the check as plain JSON values, without what was not needed."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Compared:
    """What is known from comparisons.

    Attributes:
        checks: Every comparison.
    """

    checks: tuple[ExportCheck, ...]

    @property
    def max_abs(self) -> float:
        """Largest difference of all comparisons."""
        return max((check.max_abs for check in self.checks), default=0.0)

    @property
    def max_rel(self) -> float:
        """Largest relative difference of all comparisons."""
        return max((check.max_rel for check in self.checks), default=0.0)


@dataclass(frozen=True)
class RuntimeProof(Compared):
    """How well a file agrees with torch in a runtime beside onnxruntime.

    Attributes:
        name: The runtime.
        version: Its version.
        checks: Every comparison.
    """

    name: str
    version: str
    checks: tuple[ExportCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether every comparison stayed within the tolerance."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        word = "passed" if self.passed else "FAILED"
        return (
            f"{self.name} {self.version} {word}: max rel {self.max_rel:.3g} "
            f"in {len(self.checks)} checks"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the proof as plain JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "passed": self.passed,
            "max_abs": self.max_abs,
            "max_rel": self.max_rel,
            "checks": [check.to_dict() for check in self.checks],
        }


@dataclass(frozen=True)
class ExportResult(Compared):
    """A written ONNX file and how well it was found to agree with torch.

    Attributes:
        path: The file.
        form: Layout of the file, one of `target.EXPORT_FORMS`.
        opset: Version of the ONNX operator set.
        batch: The fixed batch, or None where it is free.
        inputs: Shape of each input by its name; free axes by their names.
        outputs: Shape of each output by its name.
        checks: Every comparison in onnxruntime.
        rounding: What the file is rounded to on purpose: banks in ``"half"`` precision or
            ``"int8"``, or ``"fp16"`` for all of it; None for the precision of the network.
        timings: By what the form was chosen, if that was measured.
        target: What the file was written for, if a target was named.
        runtimes: How it does in the runtimes that were asked for beside onnxruntime.
    """

    path: Path
    form: str
    opset: int
    batch: int | None
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    checks: tuple[ExportCheck, ...]
    rounding: Rounding | None = None
    timings: Timings | None = None
    target: str | None = None
    runtimes: tuple[RuntimeProof, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every comparison stayed within the tolerance, in every runtime."""
        elsewhere = all(proof.passed for proof in self.runtimes)
        return elsewhere and all(check.passed for check in self.checks)

    @property
    def half(self) -> bool:
        """Whether the kernel banks are stored in half precision."""
        return self.rounding == "half"

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know of how it passed."""
        boxes = [check.boxes for check in self.checks if check.boxes is not None]
        judged = [c for c in self.checks if c.passed and c.float64_rel is not None]
        if not judged:
            return box_notes(boxes)
        worst = max(judged, key=lambda check: check.float64_rel or 0.0)
        return (
            f"in {len(judged)} of {len(self.checks)} checks the difference from torch is the "
            f"network's own rounding: up to {worst.float64_rel:.2g} from it in float64, where "
            f"{worst.float64_allowed:.2g} is allowed by what float32 in torch is off",
        )

    def _repr_html_(self) -> str:
        title, *_ = str(self).splitlines()
        rows = [
            (c.name, str(c.batch), f"{c.max_abs:.3g}", f"{c.max_rel:.3g}", _verdict(c))
            for c in self.checks
        ]
        header = ("check", "batch", "max abs", "max rel", "result")
        return html_table(header, rows, title=title, notes=self.notes)

    def __str__(self) -> str:
        word = "passed" if self.passed else "FAILED"
        line = (
            f"{self.path} {word}: max abs {self.max_abs:.3g}, max rel {self.max_rel:.3g} "
            f"in {len(self.checks)} checks, form {self.form}, opset {self.opset}"
        )
        proofs = (str(proof) for proof in self.runtimes)
        return "\n".join([line, *proofs, *(f"note: {note}" for note in self.notes)])

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "path": str(self.path),
            "passed": self.passed,
            "max_abs": self.max_abs,
            "max_rel": self.max_rel,
            "target": self.target,
            "form": self.form,
            "rounding": self.rounding,
            "half": self.half,
            "timings": None if self.timings is None else asdict(self.timings),
            "opset": self.opset,
            "batch": self.batch,
            "inputs": {name: list(shape) for name, shape in self.inputs.items()},
            "outputs": {name: list(shape) for name, shape in self.outputs.items()},
            "checks": [check.to_dict() for check in self.checks],
            "runtimes": [proof.to_dict() for proof in self.runtimes],
            "notes": list(self.notes),
        }


def _verdict(check: ExportCheck) -> str:
    return ("passed" if check.passed else "FAILED") + check.verdict


def shape_of(value: ir.Value) -> Shape:
    """Return a value's shape, free axes as their names."""
    return tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape or ())
