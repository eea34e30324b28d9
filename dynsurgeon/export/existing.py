"""Verify a file that was written earlier."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from dynsurgeon.deploy.facts import BANK_KEY, FORM_KEY, PRECISION_KEY, TARGET_KEY
from dynsurgeon.errors import ExportError, StorageError
from dynsurgeon.export.cases import make_cases
from dynsurgeon.export.detectors.existing import verify_detector
from dynsurgeon.export.detectors.one_image import takes_images
from dynsurgeon.export.elsewhere import prove_in
from dynsurgeon.export.result import ExportResult, shape_of
from dynsurgeon.export.signature import spatial_axes, tensors
from dynsurgeon.export.target import EXPORT_FORMS, Target
from dynsurgeon.export.trial import Trial
from dynsurgeon.export.verify import check_file
from dynsurgeon.export.write import STORED
from dynsurgeon.form_names import Rounding, other_cpu, rounding_name
from dynsurgeon.messages import first_line
from dynsurgeon.running.inputs import Inputs, as_inputs
from dynsurgeon.running.run import preserved
from dynsurgeon.runtimes.table import find_runtimes


def verify_onnx(
    model: nn.Module,
    path: str | PathLike[str],
    example_inputs: Any,
    *,
    runtimes: Sequence[str] = (),
    seed: int = 0,
) -> ExportResult:
    """Compare an ONNX file with the network that it should hold, at the weights it has.

    Args:
        model: The network; it is run in eval mode and stays as it is.
        path: The file.
        example_inputs: A tensor, a tuple of positional inputs, a dict of keyword inputs, or
            `Inputs`, with the batch as first axis.
        runtimes: Runtimes beside onnxruntime in which it is compared too, at batches 1 and 3;
            names in `runtimes.table.RUNTIMES`.
        seed: Seed of the inputs to compare on.

    Returns:
        The result, passed or not.

    Raises:
        ConfigError: A runtime is unknown, or not installed.
        RuntimeRefusalError: A runtime can't load or run the file.
        StorageError: The file is missing or damaged, or takes other inputs than the model.
        MachineError: It was laid out for another CPU.
    """
    path, inputs = Path(path), as_inputs(example_inputs)
    proving = find_runtimes(runtimes)
    stored = _read(path)
    if takes_images(inputs):
        return verify_detector(model, path, stored, inputs, proving, seed)
    target = _target_of(stored, inputs, path)
    form = stored.metadata_props.get(FORM_KEY, "unknown")
    rounding = _rounding_of(stored)
    with preserved(model, "eval", seed):
        cases = make_cases(inputs, target, torch.Generator().manual_seed(seed))
        try:
            check_file(path)
            trial = Trial("", path, {}, rounding)
            checks = trial.run(model, cases)
        except ExportError as error:
            damaged = StorageError(f"{path} is damaged or of another model: {error}")
            raise (other_cpu(error, path) or damaged) from error
        proofs = [prove_in(runtime, [trial], model, cases, target) for runtime in proving]
    return ExportResult(
        path=path,
        form=form,
        rounding=rounding,
        opset=stored.opset_imports.get("", 0),
        batch=target.batch,
        inputs={str(value.name): shape_of(value) for value in stored.graph.inputs},
        outputs={str(value.name): shape_of(value) for value in stored.graph.outputs},
        checks=tuple(checks),
        target=target.destination,
        runtimes=tuple(proofs),
    )


def batch_of(path: Path) -> int | None:
    """Return the fixed batch of a file, or None where it is free.

    Raises:
        StorageError: The file is missing or damaged, or takes nothing.
    """
    shapes = [shape_of(value) for value in _read(path).graph.inputs]
    if not shapes or not shapes[0]:
        raise StorageError(f"{path} takes no input")
    return first if isinstance(first := shapes[0][0], int) else None


def _read(path: Path) -> ir.Model:
    if not path.is_file():
        raise StorageError(f"there is no file {path}")
    try:
        return ir.load(path)
    except Exception as error:
        raise StorageError(f"{path} is no readable ONNX file: {first_line(error)}") from error


def _rounding_of(stored: ir.Model) -> Rounding | None:
    kind = stored.metadata_props.get(BANK_KEY)
    bank = next((name for name, known in STORED.items() if known == kind), None)
    return rounding_name(bank, stored.metadata_props.get(PRECISION_KEY))


def _target_of(stored: ir.Model, inputs: Inputs, path: Path) -> Target:
    given, taken = tensors(inputs), stored.graph.inputs
    shapes = [shape_of(value) for value in taken]
    ranks = [len(shape) for shape in shapes]
    if ranks != [tensor.dim() for tensor in given] or not shapes or not shapes[0]:
        raise StorageError(
            f"{path} takes inputs of the shapes {shapes}, the model's example inputs have "
            f"{[tuple(tensor.shape) for tensor in given]}: it is of another model"
        )
    batch = shapes[0][0]
    free = any(
        isinstance(shape[axis], str)
        for shape, tensor in zip(shapes, given, strict=True)
        for axis in spatial_axes(tensor)
    )
    form = EXPORT_FORMS.get(stored.metadata_props.get(FORM_KEY, ""), EXPORT_FORMS["portable"])
    known = stored.metadata_props.get(TARGET_KEY)
    return Target(form, batch if isinstance(batch, int) else None, free, destination=known)
