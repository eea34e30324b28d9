"""The Scan: one sample inside, the whole batch outside, each weight once where it serves best."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from export_nets import DynamicNet, assert_close, body_of, perturbed, run_onnx
from shared_traces import share_equal_traces
from torch import nn

from dynsurgeon.export import export_onnx
from dynsurgeon.runtimes.onnxruntime import Session

equal_traces = pytest.fixture(autouse=True)(share_equal_traces)


def test_banks_lie_outside_and_samples_inside(tmp_path: Path) -> None:
    export_onnx(DynamicNet(), tmp_path / "m.onnx", torch.randn(2, 3, 12, 12))
    stored = onnx.load(tmp_path / "m.onnx")
    body = body_of(stored)
    outside = [tensor.name for tensor in stored.graph.initializer]
    inside = [tensor.name for tensor in body.initializer]
    assert len({*outside, *inside}) == len(outside) + len(inside)
    assert {"conv1.weight", "conv2.weight", "conv2.bias", "fc.weight"} <= set(outside)
    assert {"stem.0.weight", "stem.0.bias", "conv1.bias"} <= set(inside)
    (sample,) = body.input
    sizes = [dim.dim_value for dim in sample.type.tensor_type.shape.dim]
    assert (sample.name, sizes) == ("sample/input", [3, 12, 12])
    outer = {value.name for value in [*stored.graph.input, *stored.graph.output]}
    inner = {name for node in body.node for name in node.output} | {sample.name}
    assert not outer & inner


def fast_convolutions(file: Path) -> int:
    """Count the convolutions that get the fast layout, which is up to the processor."""
    rewritten = file.with_suffix(".optimized")
    Session(file, rewritten=rewritten)
    model = onnx.load(rewritten, format="protobuf")
    graph = model.graph if len(model.graph.node) > 1 else body_of(model)
    return sum("nchwc" in node.domain and node.op_type == "Conv" for node in graph.node)


def test_static_convolutions_keep_their_fast_layout(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3))
    one, free = tmp_path / "one.onnx", tmp_path / "free.onnx"
    export_onnx(net, one, torch.randn(2, 3, 12, 12), batch=1)
    export_onnx(net, free, torch.randn(2, 3, 12, 12))
    assert fast_convolutions(free) == fast_convolutions(one)


def test_a_fixed_batch_can_be_scanned_too(tmp_path: Path) -> None:
    net = perturbed(DynamicNet())
    result = export_onnx(net, tmp_path / "m.onnx", torch.randn(2, 3, 12, 12), form="scan", batch=3)
    assert result.inputs == {"input": (3, 3, 12, 12)}
    x = torch.randn(3, 3, 12, 12)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])
