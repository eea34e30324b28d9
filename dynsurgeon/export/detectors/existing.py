"""Verify a detector's file that was written earlier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir
import torch
from torch import nn

from dynsurgeon.deploy.facts import FORM_KEY, TARGET_KEY
from dynsurgeon.errors import ExportError, StorageError
from dynsurgeon.export.detectors.job import (
    BACKBONE,
    finding_nothing,
    finds_little,
    lowered,
    make_images,
)
from dynsurgeon.export.detectors.one_image import THRESHOLD, Detector, one_image
from dynsurgeon.export.detectors.trial import DetectorTrial
from dynsurgeon.export.elsewhere import prove_in
from dynsurgeon.export.result import ExportResult, shape_of
from dynsurgeon.export.target import EXPORT_FORMS, Target
from dynsurgeon.export.verify import check_file
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import preserved
from dynsurgeon.runtimes.contract import Runtime


def verify_detector(
    model: nn.Module,
    path: Path,
    stored: ir.Model,
    inputs: Inputs,
    runtimes: Sequence[Runtime],
    seed: int,
) -> ExportResult:
    """Compare a file with the detector that it should hold, at the weights it has.

    Args:
        model: The detector; it is run in eval mode and stays as it is.
        path: The file.
        stored: What the file holds.
        inputs: A list of images to compare on.
        runtimes: Runtimes beside onnxruntime in which it is compared too.
        seed: Seed of further images.

    Raises:
        RuntimeRefusalError: A runtime can't load or run the file.
        StorageError: The file is damaged, or takes other images than the model.
    """
    _check_is_detector(stored, inputs, path)
    name = stored.metadata_props.get(FORM_KEY, "unknown")
    form = EXPORT_FORMS.get(name, EXPORT_FORMS["plain"])
    target = Target(form, 1, destination=stored.metadata_props.get(TARGET_KEY))
    with preserved(model, "eval", seed), TemporaryDirectory(prefix="dynsurgeon-") as folder:
        detector = Detector(model)
        cases = make_images(inputs, torch.Generator().manual_seed(seed))
        try:
            check_file(path)
            trials = [DetectorTrial("", path, {})]
            if finds_little(detector, cases):
                low = lowered(detector, cases, path, Path(folder))
                trials += [] if low is None else [low]
            trials.append(finding_nothing(path, Path(folder)))
            checks = [check for trial in trials for check in trial.run(detector, cases)]
        except ExportError as error:
            raise StorageError(f"{path} is damaged or of another model: {error}") from error
        proofs = [
            prove_in(runtime, trials, detector, cases, target, BACKBONE) for runtime in runtimes
        ]
    return ExportResult(
        path=path,
        form=name,
        opset=stored.opset_imports.get("", 0),
        batch=1,
        inputs={str(value.name): shape_of(value) for value in stored.graph.inputs},
        outputs={str(value.name): shape_of(value) for value in stored.graph.outputs},
        checks=tuple(checks),
        target=target.destination,
        runtimes=tuple(proofs),
    )


def _check_is_detector(stored: ir.Model, inputs: Inputs, path: Path) -> None:
    shapes = [shape_of(value) for value in stored.graph.inputs]
    image = tuple(one_image(inputs).args[0].shape)
    if shapes != [image] or THRESHOLD not in stored.graph.initializers:
        raise StorageError(
            f"{path} takes inputs of the shapes {shapes}, and this detector's file takes one image "
            f"{image}: it is of another model"
        )
