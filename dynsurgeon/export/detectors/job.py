"""One detector's file to write and prove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir
import torch
from torch import Tensor, nn

from dynsurgeon.errors import ConfigError, ExportError, ParityError
from dynsurgeon.export.cases import Case
from dynsurgeon.export.detectors.one_image import (
    NETWORK,
    THRESHOLD,
    Detector,
    check_found,
    one_image,
)
from dynsurgeon.export.detectors.scripted import capture_detector
from dynsurgeon.export.detectors.thresholds import LEAST, fitted_threshold, telling_weights
from dynsurgeon.export.detectors.trial import DetectorTrial
from dynsurgeon.export.elsewhere import check_proof, prove_in
from dynsurgeon.export.job import Job
from dynsurgeon.export.result import ExportCheck, ExportResult, Timings
from dynsurgeon.export.running import run
from dynsurgeon.export.signature import Signature
from dynsurgeon.export.target import Target
from dynsurgeon.export.tensors import set_tensor
from dynsurgeon.export.verify import check_file, references
from dynsurgeon.form_names import AUTO
from dynsurgeon.graphs.initializers import EXTERNAL_DATA_LIMIT
from dynsurgeon.graphs.saving import save_model
from dynsurgeon.operators.contract import is_dynamic
from dynsurgeon.running.fresh import fresh_inputs
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.runtimes.contract import Runtime

IMAGES = 2
"""Images that a file is verified on, at least."""

BACKBONE = "what finds boxes is the same for every target: export the detector's backbone for it"
"""What to do where a runtime refuses a detector's file."""

LOW, PERTURBED = "low threshold, ", "perturbed, low threshold, "
NOTHING = "high threshold, "

ABOVE_ALL = 2.0
"""A threshold that no score reaches."""

Names = tuple[Sequence[str] | None, Sequence[str] | None]


@dataclass(frozen=True)
class DetectorJob:
    """An export of a detector that has been traced.

    Attributes:
        detector: The network, in eval mode.
        job: What writes the file.
    """

    detector: Detector
    job: Job

    @classmethod
    def of(
        cls,
        model: nn.Module,
        inputs: Inputs,
        target: Target,
        names: Names,
        generator: torch.Generator,
        external_data_limit: int,
        metadata: Mapping[str, str],
    ) -> DetectorJob:
        """Trace a detector, which must be in eval mode.

        Args:
            model: The detector.
            inputs: A list of images; the file is for the size of the first.
            target: What the file is for.
            names: Names of the inputs and of the outputs, or None to choose them.
            generator: Source of the images to verify on.
            external_data_limit: Bytes of weights above which they get a file of their own.
            metadata: What else the file says of itself.

        Raises:
            ExportError: It can't be traced, or returns something else than boxes.
        """
        image = one_image(inputs)
        check_found(run(model, Inputs([image.args[0][0]]))[0])
        detector = Detector(model)
        state = [THRESHOLD, *model.state_dict()]
        signature = Signature.of(image, run(detector, image), *names, taken=state)
        captured = capture_detector(detector, image, target.opset)
        cases = make_images(inputs, generator)
        limit = external_data_limit
        job = Job(model, target, signature, captured, cases, limit, metadata)
        return cls(detector, job)

    def run(
        self,
        path: Path,
        folder: Path,
        generator: torch.Generator,
        timings: Timings | None = None,
        runtimes: Sequence[Runtime] = (),
    ) -> ExportResult:
        """Write the file into `folder` and prove it; see `Job.run`.

        Raises:
            ExportError: It is no valid file, or its target doesn't take it, or the detector finds
                nothing to compare.
            RuntimeRefusalError: A runtime doesn't.
            ParityError: It finds other boxes than the network.
        """
        del timings
        staged = folder / path.name
        result = replace(self.job.write(staged, {}), path=path)
        check_file(staged)
        trials = []
        for trial in self._trials(staged, generator):
            trials.append(trial)
            checks = trial.run(self.detector, self.job.cases)
            result = replace(result, checks=(*result.checks, *checks))
            check_boxes(result, checks)
        _check_compared(checks, self.detector)
        nothing = finding_nothing(staged, folder)
        check_boxes(result, nothing.run(self.detector, self.job.cases))
        trials.append(nothing)
        for runtime in runtimes:
            proof = prove_in(
                runtime, trials, self.detector, self.job.cases, self.job.target, BACKBONE
            )
            check_proof(proof, path)
            result = replace(result, runtimes=(*result.runtimes, proof))
        return result

    def _trials(self, staged: Path, generator: torch.Generator) -> Iterator[DetectorTrial]:
        yield DetectorTrial("", staged, {})
        cases = self.job.cases
        if finds_little(self.detector, cases):
            low = lowered(self.detector, cases, staged, staged.parent)
            yield from [] if low is None else [low]
        if is_dynamic(self.job.model):
            state = telling_weights(self.detector, cases, generator)
            path = staged.with_name(f"other-{staged.name}")
            self.job.write(path, {key.removeprefix(NETWORK): t for key, t in state.items()})
            yield DetectorTrial(PERTURBED, path, state)


def make_images(inputs: Inputs, generator: torch.Generator) -> tuple[Case, ...]:
    """Return what a file is verified on: the example images, and more that are like the first."""
    first = inputs.args[0][0]
    given = [image for image in inputs.args[0] if image.shape == first.shape]
    images = [Inputs(image.unsqueeze(0)) for image in given]
    while len(images) < IMAGES:
        images.append(fresh_inputs(images[0], 1, generator))
    return tuple(Case(f"image {i + 1}", 1, each) for i, each in enumerate(images))


def lowered(
    detector: Detector, cases: Sequence[Case], path: Path, folder: Path
) -> DetectorTrial | None:
    """Write a file into `folder` again, with a threshold at which it finds something, if any."""
    state = fitted_threshold(detector, {}, cases)
    return None if state is None else at_threshold(LOW, path, folder, state[THRESHOLD])


def finding_nothing(path: Path, folder: Path) -> DetectorTrial:
    """Write a file into `folder` again, with a threshold that no score reaches.

    Runtimes have found a box of garbage where torch finds none.
    """
    return at_threshold(NOTHING, path, folder, torch.tensor(ABOVE_ALL))


def at_threshold(prefix: str, path: Path, folder: Path, threshold: Tensor) -> DetectorTrial:
    """Write a file into `folder` again, with another score threshold."""
    stored, copy = ir.load(path), folder / f"{prefix.split()[0]}-{path.name}"
    set_tensor(stored.graph.initializers[THRESHOLD], threshold)
    save_model(stored, copy, EXTERNAL_DATA_LIMIT)
    return DetectorTrial(prefix, copy, {THRESHOLD: threshold})


def finds_little(detector: Detector, cases: Sequence[Case]) -> bool:
    """Whether too few boxes are found at the detector's own threshold to compare by."""
    return sum(len(scores) for _, _, scores in references(detector, {}, cases)) < LEAST


def check_boxes(result: ExportResult, checks: Sequence[ExportCheck]) -> None:
    """Make sure that a trial passed.

    Raises:
        ParityError: It did not.
    """
    failed = next((check for check in checks if not check.passed), None)
    if failed is None or failed.boxes is None:
        return
    raise ParityError(
        f"{result.path} was not written: at {failed.name} it finds other boxes than the network: "
        f"{failed.boxes}",
        result,
    )


def _check_compared(checks: Sequence[ExportCheck], detector: Detector) -> None:
    """Make sure that the last trial, the most telling one, compared anything.

    Raises:
        ExportError: It did not.
    """
    if not any(check.boxes is not None and check.boxes.compared for check in checks):
        raise ExportError(
            f"{type(detector.network).__name__} can't be verified: torch's own roundings choose "
            "other boxes under every weights that were tried; export its backbone"
        )


def check_wishes(batch: int | None, form: str, *, dynamic_size: bool, rounding: str | None) -> None:
    """Refuse what a detector's file can't have.

    Raises:
        ConfigError: It is asked for.
    """
    if batch not in (None, 1):
        raise ConfigError(f"a detector's file takes one image: leave batch={batch} out")
    if dynamic_size:
        raise ConfigError("a detector's file is for images of one size: leave dynamic_size out")
    if form in (AUTO, "scan"):
        raise ConfigError(
            f"form {form!r} is for networks that take batches, and a detector's file takes one "
            "image: leave form out"
        )
    if rounding is not None:
        raise ConfigError(
            "a detector's boxes are verified in full precision only: leave bank, half and "
            "precision out"
        )
