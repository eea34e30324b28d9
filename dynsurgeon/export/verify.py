"""Verify an ONNX file: the checker in full, then its numbers in onnxruntime against torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from dynsurgeon.errors import ExportError, RuntimeRefusalError
from dynsurgeon.export.cases import Case
from dynsurgeon.export.result import ExportCheck
from dynsurgeon.export.running import State, run
from dynsurgeon.export.signature import tensors
from dynsurgeon.form_names import Rounding
from dynsurgeon.messages import first_line
from dynsurgeon.progress import counted
from dynsurgeon.running.differences import FAR, Tolerance, difference, is_within
from dynsurgeon.runtimes.contract import LoadedFile

TOLERANCES: dict[torch.dtype, Tolerance] = {
    torch.float64: (1e-5, 1e-6),  # onnxruntime may compute parts of it in fp32
    torch.float32: (1e-5, 1e-6),
    torch.float16: (2e-2, 1e-3),  # every operator rounds to 11 bits, and not in the same order
}
"""By the coarsest dtype of the network."""

COARSER: dict[Rounding | None, Tolerance] = {
    "half": (5e-3, 1e-4),
    "int8": (5e-3, 1e-4),
    "fp16": TOLERANCES[torch.float16],
}
"""By what a file is rounded to on purpose. For banks in 8 bits it is that of the heads beside them,
in 16: how much more is allowed is measured in torch."""


def check_dtype(model: nn.Module, inputs: Any) -> None:
    """Refuse what onnxruntime's CPU provider could not run.

    Raises:
        ExportError: The model or its inputs have such a dtype.
    """
    dtype = coarsest_dtype(model, inputs)
    if dtype not in TOLERANCES:
        known = ", ".join(str(kind).removeprefix("torch.") for kind in TOLERANCES)
        raise ExportError(
            f"a model in {str(dtype).removeprefix('torch.')} can't be verified, because "
            f"onnxruntime's CPU provider runs {known} alone: export model.float()"
        )


def check_file(path: Path) -> None:
    """Run the ONNX checker in full, shape inference included.

    Raises:
        ExportError: The file is no valid ONNX.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise ExportError(
            f"onnx.checker refuses the exported graph: {first_line(error)}"
        ) from error


def references(model: nn.Module, state: State, cases: Iterable[Case]) -> list[list[Tensor]]:
    """Run `model`, which must be in eval mode, on each case with `state` in place of its own."""
    outputs = [tensors(run(model, case.inputs, state)) for case in cases]
    return [[tensor.detach().cpu() for tensor in tree] for tree in outputs]


def compare(
    session: LoadedFile,
    cases: Iterable[Case],
    expected: Iterable[list[Tensor]],
    tolerance: Tolerance,
    prefix: str = "",
) -> list[ExportCheck]:
    """Run a file on each case and compare with torch.

    Args:
        session: The file.
        cases: The inputs.
        expected: What torch computes for them.
        tolerance: Allowed difference, as in `TOLERANCES`.
        prefix: Put before each name.

    Raises:
        ExportError: The runtime can't run the file on a case.
    """
    checks = []
    pairs = list(zip(cases, expected, strict=True))
    for case, outputs in counted(pairs, "cases"):
        try:
            found = session.run(tensors(case.inputs))
        except RuntimeRefusalError:
            raise
        except Exception as error:
            raise ExportError(
                f"onnxruntime can't run the exported graph at {case.name}: {first_line(error)}"
            ) from error
        _check_declared(session, found, case)
        checks.append(_check(f"{prefix}{case.name}", case.batch, outputs, found, tolerance))
    return checks


def coarsest_dtype(model: nn.Module, inputs: Any) -> torch.dtype:
    """Return the floating dtype of least precision among weights and inputs; fp32 if none."""
    leaves = [*model.parameters(), *model.buffers(), *tensors(inputs)]
    kinds = {t.dtype for t in leaves if t.is_floating_point()} or {torch.float32}
    return max(kinds, key=lambda kind: torch.finfo(kind).eps)


def _check_declared(session: LoadedFile, found: list[Tensor], case: Case) -> None:
    """Compare the shapes that the file declares, on which runtimes rely, with those it returns."""
    for (name, declared), tensor in zip(session.outputs.items(), found, strict=True):
        sizes = zip(declared, tensor.shape, strict=False)
        fixed = any(isinstance(size, int) and size != true_size for size, true_size in sizes)
        if fixed or len(declared) != tensor.dim():
            raise ExportError(
                f"the exported graph declares output {name!r} as {declared}, but it is "
                f"{list(tensor.shape)} at {case.name}: torch.onnx fixed an axis that should be "
                "free; export it with a fixed batch=N and size"
            )


def _check(
    name: str,
    batch: int,
    expected: list[Tensor],
    found: list[Tensor],
    tolerance: Tolerance,
) -> ExportCheck:
    max_abs = max_rel = 0.0
    passed = len(expected) == len(found)
    for e, f in zip(expected, found, strict=False):
        passed &= is_within(e, f, tolerance)
        gap = difference(e, f) if e.dtype == f.dtype else FAR
        max_abs = max(max_abs, gap.gap)
        max_rel = max(max_rel, gap.relative_or_gap)
    return ExportCheck(name, batch, max_abs, max_rel, passed)
