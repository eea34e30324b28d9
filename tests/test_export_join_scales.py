"""Scales join what follows: one operator, the same numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from export_nets import assert_close, captured_graph, operators, perturbed, run_onnx
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.target import Target
from dynsurgeon.graphs.native.guard import block_width
from dynsurgeon.graphs.native.optimise import NCHWC
from dynsurgeon.graphs.native.rolls import drop_roll_reorders

needs_blocks = pytest.mark.skipif(block_width() not in (8, 16), reason="no NCHWc on this CPU")


class Residual(nn.Module):
    """A residual block of 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 1)
        self.conv, self.norm = nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.relu(self.norm(self.conv(x)) + x)


def lowered(
    conv: str, size: int, form: str, folder: Path, destination: str | None = None, batch: int = 1
) -> ir.Graph:
    """Check a file against torch, and return its graph."""
    x = torch.randn(batch, 3, size, size)
    config = ds.SurgeryConfig(conv=conv, activation=None)
    net = perturbed(ds.convert(Residual().eval(), x, config))
    captured, _, names = captured_graph(net, x, form, batch)
    model = lower(captured, Target.choose(form, batch, destination=destination), names)
    ir.save(model, folder / "m.onnx")
    with torch.no_grad():
        assert_close(run_onnx(folder / "m.onnx", x), [net(x)])
    return model.graph


@pytest.mark.parametrize("conv", ["scale", "se"])
@pytest.mark.parametrize(("size", "norms", "convs"), [(7, 1, 2), (21, 0, 3)])
def test_a_scale_and_its_shift_are_one_operator(
    conv: str, size: int, norms: int, convs: int, tmp_path: Path
) -> None:
    found = Counter(operators(lowered(conv, size, "plain", tmp_path)))
    assert (found["BatchNormalization"], found["Conv"], found["Add"]) == (norms, convs, 1)


def test_not_for_other_runtimes_nor_for_several_samples(tmp_path: Path) -> None:
    for form, destination, batch in (("plain", "openvino", 1), ("grouped", None, 2)):
        found = operators(lowered("se", 7, form, tmp_path, destination, batch))
        assert "BatchNormalization" not in found
        assert found.count("Add") == 2


@needs_blocks
def test_native_stays_in_blocks(tmp_path: Path) -> None:
    graph = lowered("scale", 21, "native", tmp_path)
    assert operators(graph).count("ReorderOutput") == 1  # the network's own output
    assert not {"Add", "Relu"} & {
        node.op_type for node in graph if str(node.name).startswith("norm")
    }


def turned(by: int, channels: int = 32) -> ir.Graph:
    """Channels turned round outside of the blocks, between two reorderings."""
    x = ir.Value(name="x", shape=ir.Shape([1, channels, 4, 4]))
    out = ir.node("ReorderOutput", [x], {"channels": channels}, domain=NCHWC)
    index = ir.Value(name="index", const_value=ir.tensor(torch.arange(channels).roll(-by).numpy()))
    graph = ir.Graph([x], [], nodes=[out], initializers=[index])
    gather = ir.node("Gather", [out.outputs[0], index], {"axis": 1})
    back = ir.node("ReorderInput", gather.outputs, domain=NCHWC)
    conv = ir.node("Conv", back.outputs, domain=NCHWC)
    graph.extend([gather, back, conv])
    graph.outputs.extend(conv.outputs)
    return graph


@pytest.mark.parametrize(
    ("by", "block", "dropped"), [(8, 8, 1), (16, 16, 1), (8, 16, 0), (4, 8, 0), (3, 8, 0)]
)
def test_only_turns_by_whole_blocks_stay_in_blocks(by: int, block: int, dropped: int) -> None:
    graph = turned(by)
    assert drop_roll_reorders(graph, block) == dropped
    assert operators(graph).count("ReorderInput") == 1 - dropped


@needs_blocks
def test_a_turn_in_blocks_gives_the_same_numbers(tmp_path: Path) -> None:
    x = torch.randn(1, 3, 9, 9)
    config = ds.SurgeryConfig(conv=None, activation="shift-max")
    net = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1))
    dynamic = perturbed(ds.convert(net.eval(), x, config))
    captured, target, names = captured_graph(dynamic, x, "native")
    model = lower(captured, target, names)
    ir.save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        assert_close(run_onnx(tmp_path / "m.onnx", x), [dynamic(x)])
    gather = next(n for n in model.graph if n.op_type == "Gather" and len(n.outputs[0].uses()) > 1)
    assert all(use.node.op_type == "Conv" for use in gather.outputs[0].uses())
