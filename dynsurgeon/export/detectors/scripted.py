"""Trace a detector by TorchScript's tracer, to the graph that `export.capture` would give.

torch.export can't trace torchvision's detectors: how many boxes survive depends on the image, and
torchvision's code branches on it. Its branches for tracing are those of TorchScript's tracer.
"""

from __future__ import annotations

import io

import onnx
import onnx_ir as ir
import torch
from torch import Tensor, nn
from torch.onnx import TrainingMode

from dynsurgeon.errors import ExportError
from dynsurgeon.export.capture import Captured, heads_of
from dynsurgeon.export.detectors.join_branches import join_branches
from dynsurgeon.export.detectors.marks import place_nodes
from dynsurgeon.export.detectors.one_image import NETWORK, Detector
from dynsurgeon.export.node import Mark, marking
from dynsurgeon.export.operations import Standing, standing_for_operations
from dynsurgeon.export.passes.name_parts import SCOPES
from dynsurgeon.export.passes.simplify import fold_computed
from dynsurgeon.messages import one_line
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.quiet import quiet

OPSET = 18
"""The default: TorchScript's tracer writes up to 20, and was last worked on for 18."""

LONGEST_MESSAGE = 240


def capture_detector(detector: Detector, inputs: Inputs, opset: int | None) -> Captured:
    """Trace a detector on one image.

    Args:
        detector: The network, in eval mode.
        inputs: One image, ``(1, 3, H, W)``.
        opset: Version of the ONNX operator set, or None for the usual one.

    Raises:
        ExportError: torch can't trace or write it; says whether the dynamic layers are why.
    """
    try:
        traced = _trace(detector, inputs, opset or OPSET, "nodes")
    except Exception as error:
        raise _explained(error, detector, inputs, opset or OPSET) from error
    for value in list(traced.graph.initializers.values()):
        value.name = str(value.name).removeprefix("detector.").removeprefix(NETWORK)
    weights = frozenset(traced.graph.initializers)
    join_branches(traced)
    _note_modules(traced)
    fold_computed(traced, weights)
    traced.graph.name = type(detector.network).__name__
    return Captured(traced, weights, weights & heads_of(detector.network))


class _Marked(nn.Module):
    """A detector that returns the tensors of the marks too, so that the graph knows them.

    It is in train mode, where that means nothing: else the exporter would merge weights of equal
    values, which other weights would not have.
    """

    def __init__(self, detector: Detector, marks: list[Mark]) -> None:
        super().__init__()
        self.detector, self.marks = detector, marks

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        self.marks.clear()
        found = self.detector(images)
        return (*found.values(), *(tensor for mark in self.marks for tensor in mark.tensors))


def _trace(detector: Detector, inputs: Inputs, opset: int, standing: Standing) -> ir.Model:
    written = io.BytesIO()
    with standing_for_operations(standing), quiet(), marking() as marks:
        marked = _Marked(detector, marks)
        torch.onnx.export(
            marked,
            inputs.args,
            written,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=opset,
            do_constant_folding=False,
            training=TrainingMode.PRESERVE,  # else it folds each BatchNorm away
        )
    traced = ir.from_proto(onnx.load_from_string(written.getvalue()))
    place_nodes(traced, marks)
    return traced


def _explained(error: Exception, detector: Detector, inputs: Inputs, opset: int) -> ExportError:
    name, says = type(detector.network).__name__, one_line(error, limit=LONGEST_MESSAGE)
    try:
        _trace(detector, inputs, opset, "static")
    except Exception:
        return ExportError(
            f"{name} can't be exported with static convolutions either, so it is the model and not "
            "its dynamic layers: export its backbone; torch.onnx.export (dynamo=False) says: "
            f"{says}"
        )
    return ExportError(
        f"the dynamic layers of {name} can't be exported, though static ones can: export its "
        f"backbone; torch.onnx.export (dynamo=False) says: {says}"
    )


def _note_modules(traced: ir.Model) -> None:
    """Note where each node comes from, as torch's newer exporter does."""
    for node in traced.graph:
        path = ""
        for part in str(node.name).split("/")[3:-1]:
            path = _inside(path, part)
        node.metadata_props[SCOPES] = repr(["", path, str(node.name)])


def _inside(path: str, part: str) -> str:
    """Return the path of a module in another; its name may repeat the end of the other's path."""
    steps = path.split(".")
    for i in range(len(steps)):
        end = ".".join(steps[i:])
        if end and part.startswith(f"{end}."):
            return path + part.removeprefix(end)
    return f"{path}.{part}" if path else part
