"""Tiny dynamic networks for the tests of the export, and how to run what was exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch
from nets import perturb_
from torch import Tensor, nn

from dynsurgeon.export.capture import Captured, capture
from dynsurgeon.export.signature import Signature
from dynsurgeon.export.target import Target
from dynsurgeon.operators import (
    DynamicConv1d,
    DynamicConv2d,
    DynamicConv3d,
    DynamicConvTranspose1d,
    DynamicConvTranspose2d,
    DynamicConvTranspose3d,
    DynamicReLUB,
)
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import preserved
from dynsurgeon.runtimes.onnxruntime import Session

TOLERANCE = 1e-5


class DynamicNet(nn.Module):
    """A static stem with BatchNorm, then dynamic convolutions with it, a DY-ReLU and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6))
        self.conv1 = DynamicConv2d(6, 6, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = DynamicReLUB(6)
        self.conv2 = DynamicConv2d(6, 8, 3, stride=2)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(torch.relu(self.stem(x)))))
        logits: Tensor = self.fc(self.bn2(self.conv2(x)).mean(dim=(2, 3)))
        return logits


class Branches(nn.Module):
    """Layers side by side on one input; each is an output of its own name."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: layer(x) for name, layer in self.layers.items()}


def conv_branches(spatial: int) -> Branches:
    """Every geometry of a convolution with so many spatial axes, on 4 channels."""
    conv: Any = (DynamicConv1d, DynamicConv2d, DynamicConv3d)[spatial - 1]
    back: Any = (DynamicConvTranspose1d, DynamicConvTranspose2d, DynamicConvTranspose3d)[
        spatial - 1
    ]
    return Branches(
        plain=conv(4, 6, 3),
        strided=conv(4, 6, 3, stride=2, padding=1, bias=False),
        grouped=conv(4, 6, 3, padding=1, groups=2),
        depthwise=conv(4, 4, 3, padding=1, groups=4),
        dilated=conv(4, 4, 2, dilation=2, padding=1),
        same=conv(4, 4, 4, padding="same", groups=2),
        valid=conv(4, 4, 2, padding="valid"),
        wrapped=conv(4, 4, 3, padding=1, padding_mode="circular"),
        point=conv(4, 6, 1),
        back=back(4, 6, 3, stride=2, padding=1, output_padding=1),
        back_grouped=back(4, 6, 3, stride=2, groups=2, dilation=2, bias=False),
    )


def branch_input(spatial: int, batch: int = 2) -> Tensor:
    """Random input for `conv_branches`."""
    return torch.randn(batch, 4, *(7, 6, 5)[:spatial])


def perturbed(model: nn.Module) -> nn.Module:
    """Return the model in eval mode, its attention and kernels far from the start."""
    return perturb_(model).eval()


def run_onnx(path: Path, *inputs: Tensor) -> list[Tensor]:
    """Run a file in onnxruntime."""
    return Session(path, threads=1).run(inputs)


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Compare to the tolerance of the export."""
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape
        assert float((f - e).abs().max()) <= TOLERANCE * float(e.abs().max()) + 1e-6


def captured_graph(
    model: nn.Module, x: Tensor, form: str = "rule", batch: int | None = 1
) -> tuple[Captured, Target, Signature]:
    """Trace a network with one tensor in."""
    target = Target.choose(form, batch)
    with preserved(model, "eval"):
        names = Signature.of((x,), model(x), None, None, taken=())
        return capture(model, Inputs(x), target), target, names


def operators(graph: ir.Graph) -> list[str]:
    """Operators of a graph's nodes in order."""
    return [node.op_type for node in graph]


def body_of(model: onnx.ModelProto) -> onnx.GraphProto:
    """Return the graph inside the Scan."""
    (scan,) = model.graph.node
    body = next(a.g for a in scan.attribute if a.name == "body")
    assert isinstance(body, onnx.GraphProto)
    return body
