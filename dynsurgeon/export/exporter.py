"""The export from end to end: trace, lower, write, verify, and only then give it its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from torch import nn

from dynsurgeon.errors import ParityError
from dynsurgeon.export.capture import Captured, capture
from dynsurgeon.export.cases import Case, make_cases
from dynsurgeon.export.independence import check_independence
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.perturb import is_dynamic, stable_perturbation
from dynsurgeon.export.result import ExportResult, shape_of
from dynsurgeon.export.running import State, run
from dynsurgeon.export.signature import Signature
from dynsurgeon.export.target import Target
from dynsurgeon.export.trial import Trial
from dynsurgeon.export.verify import check_dtype, check_file
from dynsurgeon.export.write import (
    EXTERNAL_DATA_LIMIT,
    describe,
    install,
    save_model,
    staging,
)
from dynsurgeon.proof.inputs import as_inputs, tiled
from dynsurgeon.surgery.run import preserved


def export_onnx(
    model: nn.Module,
    path: str | PathLike[str],
    example_inputs: Any,
    *,
    batch: int | None = None,
    dynamic_size: bool = False,
    form: str = "auto",
    opset: int | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    seed: int = 0,
    external_data_limit: int = EXTERNAL_DATA_LIMIT,
) -> ExportResult:
    """Write a network as ONNX, verified in onnxruntime against torch.

    Verified are the weights as they are, and weights far from the start, at batches 1, 2, 3 and 5
    (or the fixed one), with different samples, in another order, and at two sizes where those are
    free.

    Args:
        model: Any network; it is exported in eval mode and stays as it is.
        path: The file to write. One that is there already is replaced, once the new one is good.
        example_inputs: A tensor, or a tuple of positional inputs, with the batch as first axis.
        batch: A fixed batch, or None for any.
        dynamic_size: Whether height and width (the length, of a sequence) are free as well.
        form: ``"auto"``, or a name in `target.EXPORT_FORMS`.
        opset: Version of the ONNX operator set; the exporter's default if None.
        input_names: Names of the input tensors; ``input``, ``input_1`` … if None.
        output_names: Names of the output tensors; keys of dicts, or ``output``, ``output_1`` …
        seed: Seed of inputs and weights that the file is verified with.
        external_data_limit: Bytes of weights above which they go to ``<path>.data``.

    Returns:
        The result of a file that passed.

    Raises:
        ConfigError: An argument is not valid.
        ExportError: The network can't be exported like this; says what can be done.
        ParityError: The file computes other numbers than the network; `result` holds them. There is
            no file under `path` then but the one that was there before.
        StorageError: The file can't be written there.
    """
    path, inputs = Path(path), as_inputs(example_inputs)
    check_dtype(model, inputs)
    target = Target.choose(form, batch, dynamic_size=dynamic_size, opset=opset)
    with staging(path) as folder, preserved(model, "eval", seed):
        generator = torch.Generator().manual_seed(seed)
        signature = _signature(model, inputs, target, input_names, output_names)
        if target.scanned:
            check_independence(model, inputs, signature, generator)
        captured = capture(model, tiled(inputs, target.traced_batch), target)
        cases = make_cases(inputs, target, generator)
        job = _Job(model, target, signature, captured, cases, external_data_limit)
        result = job.run(path, folder, generator)
        install(folder / path.name, path)
    return result


@dataclass(frozen=True)
class _Job:
    """An export whose network has been traced."""

    model: nn.Module
    target: Target
    signature: Signature
    captured: Captured
    cases: tuple[Case, ...]
    external_data_limit: int

    def run(self, path: Path, folder: Path, generator: torch.Generator) -> ExportResult:
        """Write the file into `folder` and prove it, with its own weights and with others."""
        staged = folder / path.name
        result = replace(self.write(staged, {}), path=path)
        check_file(staged)
        result = self.prove(Trial("", staged, {}), result)
        if is_dynamic(self.model):
            state = stable_perturbation(self.model, self.cases[-1].inputs, generator)
            perturbed = folder / f"perturbed-{path.name}"
            self.write(perturbed, state)
            result = self.prove(Trial("perturbed, ", perturbed, state), result)
        return result

    def write(self, path: Path, state: State) -> ExportResult:
        """Write the file with `state` in place of the network's weights; nothing is checked yet."""
        lowered = lower(self.captured, self.target, self.signature, state)
        describe(lowered, self.model, self.target)
        save_model(lowered, path, self.external_data_limit)
        return _unchecked(path, self.target, lowered)

    def prove(self, trial: Trial, result: ExportResult) -> ExportResult:
        """Add a trial's checks to the result.

        Raises:
            ParityError: One failed.
        """
        checks = trial.run(self.model, self.cases)
        result = replace(result, checks=(*result.checks, *checks))
        failed = next((check for check in checks if not check.passed), None)
        if failed is not None:
            raise ParityError(
                f"{result.path} was not written: at {failed.name} it is off by "
                f"{failed.max_abs:.3g} ({failed.max_rel:.3g} of the largest output); "
                f"{trial.explain(self.model, self.cases, failed)}",
                result,
            )
        return result


def _signature(
    model: nn.Module,
    inputs: tuple[Any, ...],
    target: Target,
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> Signature:
    state = [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]
    traced = tiled(inputs, target.traced_batch)
    return Signature.of(traced, run(model, traced), input_names, output_names, taken=state)


def _unchecked(path: Path, target: Target, written: ir.Model) -> ExportResult:
    return ExportResult(
        path=path,
        form=target.form.name,
        opset=written.opset_imports[""],
        batch=target.batch,
        inputs={str(value.name): shape_of(value) for value in written.graph.inputs},
        outputs={str(value.name): shape_of(value) for value in written.graph.outputs},
        checks=(),
    )
