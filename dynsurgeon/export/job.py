"""One file to write and prove: a traced network and what the file is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn

from dynsurgeon.errors import ParityError
from dynsurgeon.export.capture import Captured
from dynsurgeon.export.cases import Case
from dynsurgeon.export.destinations import check_operators
from dynsurgeon.export.elsewhere import check_proof, prove_in
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.passes.half_precision import to_half
from dynsurgeon.export.perturb import stable_perturbation
from dynsurgeon.export.result import ExportResult, Timings, shape_of
from dynsurgeon.export.running import State
from dynsurgeon.export.signature import Signature
from dynsurgeon.export.target import Target
from dynsurgeon.export.trial import Trial
from dynsurgeon.export.verify import check_file
from dynsurgeon.export.write import describe
from dynsurgeon.graphs.saving import save_model
from dynsurgeon.operators.contract import is_dynamic
from dynsurgeon.runtimes.contract import Runtime


@dataclass(frozen=True)
class Job:
    """An export whose network has been traced.

    Attributes:
        model: The network, in eval mode.
        target: What the file is for.
        signature: Names of inputs and outputs.
        captured: The trace.
        cases: What the file is verified on.
        external_data_limit: Bytes of weights above which they get a file of their own.
        metadata: What else the file says of itself.
    """

    model: nn.Module
    target: Target
    signature: Signature
    captured: Captured
    cases: tuple[Case, ...]
    external_data_limit: int
    metadata: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        path: Path,
        folder: Path,
        generator: torch.Generator,
        timings: Timings | None = None,
        runtimes: Sequence[Runtime] = (),
    ) -> ExportResult:
        """Write the file into `folder` and prove it, with its own weights and with others.

        Args:
            path: Name that the file will have.
            folder: Where it is written.
            generator: Source of the other weights.
            timings: By what its form was chosen, for the result.
            runtimes: Runtimes beside onnxruntime that must run it as well.

        Raises:
            ExportError: It is no valid file, or its target doesn't take it.
            RuntimeRefusalError: A runtime doesn't.
            ParityError: It computes other numbers than the network.
        """
        staged = folder / path.name
        result = replace(self.write(staged, {}), path=path, timings=timings)
        check_file(staged)
        trials = [Trial("", staged, {}, self.target.rounding)]
        result = self.prove(trials[0], result)
        if is_dynamic(self.model):
            batches = [case.inputs for case in self.cases]
            state = stable_perturbation(self.model, batches, generator)
            perturbed = folder / f"perturbed-{path.name}"
            self.write(perturbed, state)
            trials.append(Trial("perturbed, ", perturbed, state, self.target.rounding))
            result = self.prove(trials[1], result)
        for runtime in runtimes:
            proof = prove_in(runtime, trials, self.model, self.cases, self.target)
            check_proof(proof, path)
            result = replace(result, runtimes=(*result.runtimes, proof))
        return result

    def write(self, path: Path, state: State) -> ExportResult:
        """Write the file with `state` in place of the network's weights; nothing is checked yet."""
        lowered = lower(self.captured, self.target, self.signature, state)
        check_operators(lowered, self.target.destination)
        describe(lowered, self.model, self.target, self.metadata)
        if self.target.rounding == "fp16":
            lowered = to_half(lowered)
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
                f"{failed.max_abs:.3g} ({failed.max_rel:.3g} of the largest output)"
                f"{failed.verdict}; "
                f"{trial.explain(self.model, self.cases, failed)}",
                result,
            )
        return result


def _unchecked(path: Path, target: Target, written: ir.Model) -> ExportResult:
    return ExportResult(
        path=path,
        form=target.form.name,
        rounding=target.rounding,
        target=target.destination,
        opset=written.opset_imports[""],
        batch=target.batch,
        inputs={str(value.name): shape_of(value) for value in written.graph.inputs},
        outputs={str(value.name): shape_of(value) for value in written.graph.outputs},
        checks=(),
    )
