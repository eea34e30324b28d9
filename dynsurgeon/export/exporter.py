"""The export from end to end: trace, lower, write, verify, and only then give it its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.capture import capture
from dynsurgeon.export.cases import make_cases
from dynsurgeon.export.detectors.job import DetectorJob, check_wishes
from dynsurgeon.export.detectors.one_image import takes_images
from dynsurgeon.export.independence import check_independence
from dynsurgeon.export.job import Job
from dynsurgeon.export.result import ExportResult
from dynsurgeon.export.running import run
from dynsurgeon.export.signature import Signature
from dynsurgeon.export.target import Target
from dynsurgeon.export.tuning.race import fastest
from dynsurgeon.export.verify import check_dtype
from dynsurgeon.form_names import AUTO, RULE, rounding_name
from dynsurgeon.graphs.initializers import EXTERNAL_DATA_LIMIT
from dynsurgeon.graphs.saving import install, staging
from dynsurgeon.operators.contract import mixes_kernels
from dynsurgeon.running.fresh import tiled
from dynsurgeon.running.inputs import Inputs, as_inputs
from dynsurgeon.running.run import preserved
from dynsurgeon.runtimes.table import find_runtimes


def export_onnx(
    model: nn.Module,
    path: str | PathLike[str],
    example_inputs: Any,
    *,
    batch: int | None = None,
    dynamic_size: bool = False,
    form: str = RULE,
    this_cpu: bool = False,
    half: bool = False,
    bank: str | None = None,
    precision: str | None = None,
    target: str | None = None,
    runtimes: Sequence[str] = (),
    opset: int | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    metadata: Mapping[str, str] | None = None,
    seed: int = 0,
    external_data_limit: int = EXTERNAL_DATA_LIMIT,
) -> ExportResult:
    """Write a network as ONNX, verified in onnxruntime against torch.

    Verified are the weights as they are, and weights far from the start, at batches 1, 2, 3 and 5
    (or the fixed one), with different samples, in another order, and at two sizes where those are
    free.

    A detector (`takes_images`: a list of images goes in) gets a file for one image of the size of
    the first example, verified by matching boxes on the example images and random ones; see
    `detectors.matching`.

    Other threads are heard and go on. But torch's own exporter keeps some state for the whole
    process: while it traces, convolutions of other threads run without oneDNN, which rounds
    otherwise, and models that `torch.compile` made may fail there.

    Args:
        model: Any network; it is exported in eval mode and stays as it is.
        path: The file to write. One that is there already is replaced, once the new one is good.
        example_inputs: A tensor, a tuple of positional inputs, a dict of keyword inputs, or
            `Inputs`, with the batch as first axis.
        batch: A fixed batch, or None for any.
        dynamic_size: Whether height and width (the length, of a sequence) are free as well.
        form: A name in `target.EXPORT_FORMS`; ``"rule"`` takes the one that suits the batch and
            the network: no Scan where every kernel is a constant;
            ``"auto"`` times the forms of every layer, and whole files, on this machine with
            `torch.get_num_threads` threads, and takes the fastest.
        this_cpu: Let ``"auto"`` choose ``"native"`` too, whose file runs in onnxruntime on CPUs
            like this one alone.
        half: The same as ``bank="half"``.
        bank: How to store the kernel banks, which are computed with in single precision:
            ``"half"``, or ``"int8"`` with a scale for each piece of a filter, and heads in half
            precision. The tolerance is then a wider one, and the result tells the difference.
        precision: ``"fp16"`` computes all in half precision, for GPUs; inputs and outputs stay as
            they are. onnxruntime verifies it on the CPU, where it is slow.
        target: What the file is for: ``"onnxruntime"``, ``"openvino"``, ``"tract"``, ``"web"``,
            ``"tensorrt"``, ``"portable"`` or ``"this-cpu"``; chooses form and opset by the table
            in `destinations.DESTINATIONS`, in place of `form`.
        runtimes: Runtimes beside onnxruntime in which the file is proven too, names in
            `runtimes.table.RUNTIMES`: its own weights and others, at batches 1 and 3.
        opset: Version of the ONNX operator set; the exporter's default if None.
        input_names: Names of the input tensors; if None, those of keyword inputs and of keys of
            dicts, or ``input``, ``input_1`` …
        output_names: Names of the output tensors; keys of dicts and fields of dataclasses, or
            ``output``, ``output_1`` …
        metadata: What else the file says of itself: `deploy.load` reads the keys
            ``dynsurgeon.preprocessing`` and ``dynsurgeon.labels``, both JSON.
        seed: Seed of inputs and weights that the file is verified with.
        external_data_limit: Bytes of weights above which they go to ``<path>.data``.

    Returns:
        The result of a file that passed.

    Raises:
        ConfigError: An argument is not valid, or a runtime not installed.
        ExportError: The network can't be exported like this; says what can be done.
        RuntimeRefusalError: A runtime can't load or run the file, or crashes on it.
        ParityError: The file computes other numbers than the network; `result` holds them. There is
            no file under `path` then but the one that was there before.
        StorageError: The file can't be written there.
    """
    path, inputs = Path(path), as_inputs(example_inputs)
    proving = find_runtimes(runtimes)
    check_dtype(model, inputs)
    rounding = rounding_name(bank, precision, half=half)
    detects = takes_images(inputs)
    if detects:
        check_wishes(batch, form, dynamic_size=dynamic_size, rounding=rounding)
        batch = 1
    wishes: dict[str, Any] = {"dynamic_size": dynamic_size, "opset": opset}
    wishes |= {"rounding": rounding}
    wishes |= {"this_cpu": this_cpu, "target": target, "constant": not mixes_kernels(model)}
    targets = Target.candidates(form, batch, **wishes)
    names = (input_names, output_names)
    with staging(path) as folder, preserved(model, "eval", seed):
        tracer = _Tracer(model, inputs, names, seed, external_data_limit, dict(metadata or {}))
        job: Job | DetectorJob
        timings = None
        if detects:
            job = tracer.detector_job(targets[0])
        elif form == AUTO:
            job, timings = fastest(tracer.job, targets, folder)
        else:
            job = tracer.first_job(targets)
        result = job.run(path, folder, tracer.generator(), timings, proving)
        install(folder / path.name, path)
    return result


def write_unproven(
    model: nn.Module, path: Path, example_inputs: Any, *, batch: int | None, seed: int = 0
) -> None:
    """Write a network as ONNX that nobody has verified: to be timed, no more.

    Args:
        model: The network; it stays as it is.
        path: The file.
        example_inputs: As `export_onnx` takes them.
        batch: Samples in the batch, None for any number.
        seed: Seed of what the model draws.

    Raises:
        ExportError: The network can't be exported like this.
    """
    with preserved(model, "eval", seed):
        names = (None, None)
        tracer = _Tracer(model, as_inputs(example_inputs), names, seed, EXTERNAL_DATA_LIMIT, {})
        target = Target.choose(RULE, batch)
        finds = takes_images(tracer.inputs)
        job = tracer.detector_job(target).job if finds else tracer.job(target)
        job.write(path, {})


@dataclass(frozen=True)
class _Tracer:
    """Traces a network, in eval mode, for whatever target is asked for."""

    model: nn.Module
    inputs: Inputs
    names: tuple[Sequence[str] | None, Sequence[str] | None]
    seed: int
    external_data_limit: int
    metadata: Mapping[str, str]

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def detector_job(self, target: Target) -> DetectorJob:
        """Trace a detector.

        Raises:
            ExportError: It can't be exported.
        """
        rest = (self.names, self.generator(), self.external_data_limit, self.metadata)
        return DetectorJob.of(self.model, self.inputs, target, *rest)

    def first_job(self, targets: Sequence[Target]) -> Job:
        """Trace for the first target that the network can be traced for.

        Raises:
            ExportError: It can be traced for none; says why not for the last.
        """
        for target in targets[:-1]:
            with suppress(ExportError):
                return self.job(target)
        return self.job(targets[-1])

    def job(self, target: Target) -> Job:
        """Trace for a target.

        Raises:
            ExportError: The network can't be exported like this.
        """
        signature = self._signature(target)
        if target.scanned:
            check_independence(self.model, self.inputs, signature, self.generator())
        captured = capture(self.model, tiled(self.inputs, target.traced_batch), target)
        cases = make_cases(self.inputs, target, self.generator())
        limit = self.external_data_limit
        return Job(self.model, target, signature, captured, cases, limit, self.metadata)

    def _signature(self, target: Target) -> Signature:
        state = [name for name, _ in self.model.named_parameters(remove_duplicate=False)]
        state += [name for name, _ in self.model.named_buffers(remove_duplicate=False)]
        traced = tiled(self.inputs, target.traced_batch)
        return Signature.of(traced, run(self.model, traced), *self.names, taken=state)
