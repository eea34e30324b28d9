"""How an ONNX file is written, as one value that is checked when it is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dynsurgeon.checks import require_count, require_flag
from dynsurgeon.form_names import (
    BankName,
    ExportFormName,
    TargetName,
    check_form,
    check_target,
    rounding_name,
)
from dynsurgeon.runtimes.table import find_runtimes


@dataclass(frozen=True)
class ExportSettings:
    """The arguments of `export_onnx`, for `convert_to_directory`.

    Attributes:
        batch: A fixed batch, or None for any.
        dynamic_size: Whether height and width are free too.
        opset: Version of the ONNX operator set, or None for the exporter's default.
        form: Layout of the file.
        this_cpu: Whether form ``"auto"`` may choose a layout for CPUs like this one alone.
        half: The same as ``bank="half"``.
        bank: How the kernel banks are stored: ``"half"``, ``"int8"``, or None for single precision.
        precision: ``"fp16"`` for a file that computes in half precision, or None.
        target: What the file is for, which chooses the form; None where `form` does.
        runtimes: Runtimes beside onnxruntime in which the file is proven too.
    """

    batch: int | None = None
    dynamic_size: bool = False
    opset: int | None = None
    form: ExportFormName = "rule"
    this_cpu: bool = False
    half: bool = False
    bank: BankName | None = None
    precision: Literal["fp16"] | None = None
    target: TargetName | None = None
    runtimes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("batch", "opset"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        for name in ("dynamic_size", "this_cpu", "half"):
            require_flag(name, getattr(self, name))
        check_form(self.form, this_cpu=self.this_cpu)
        rounding_name(self.bank, self.precision, half=self.half)
        check_target(self.target, self.form, this_cpu=self.this_cpu)
        find_runtimes(self.runtimes)
