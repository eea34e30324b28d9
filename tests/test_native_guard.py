"""The check inside a file: it runs where blocks are as wide as it was made for, and only there."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from export_nets import run_onnx
from native_cpu import in_plain_operators

from dynsurgeon.graphs.native.guard import insert_guard
from dynsurgeon.graphs.native.memory import BLOCKS
from dynsurgeon.graphs.native.optimise import NCHWC


def guarded(width: int) -> ir.Model:
    """A ReLU, for CPUs with blocks of `width` channels."""
    x = ir.Value(name="x", shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT))
    relu = ir.node("Relu", [x], name="relu")
    y = relu.outputs[0]
    y.name, y.shape, y.type = "y", x.shape, x.type
    graph = ir.Graph([x], [y], nodes=[relu], opset_imports={"": 18, NCHWC: 1}, name="guarded")
    insert_guard(graph, width)
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("cpu", BLOCKS)
@pytest.mark.parametrize("width", BLOCKS)
def test_it_runs_on_cpus_of_its_own_width_alone(width: int, cpu: int, tmp_path: Path) -> None:
    ir.save(in_plain_operators(guarded(width), cpu), tmp_path / "m.onnx")
    x = torch.randn(2, 3)
    if width == cpu:
        assert torch.equal(run_onnx(tmp_path / "m.onnx", x)[0], torch.relu(x))
        return
    with pytest.raises(Exception, match=f"CPUs with blocks of {width} channels"):
        run_onnx(tmp_path / "m.onnx", x)
