"""Channel scales merge into what follows: the lines of a DY-ReLU, or a BatchNorm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from export_nets import assert_close, captured_graph, perturbed, run_onnx
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.export import export_onnx
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.passes.fold_batch_norm import fold_batch_norm
from dynsurgeon.export.passes.merge_scales import merge_scales
from dynsurgeon.export.passes.split_norm import split_norm


class Block(nn.Module):
    """A stem, then a convolution, a BatchNorm and a ReLU, with a path around them if asked for."""

    def __init__(self, norm: bool = True, around: bool = False, spatial: int = 2) -> None:
        super().__init__()
        conv: Any = {1: nn.Conv1d, 2: nn.Conv2d}[spatial]
        batch_norm: Any = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[spatial]
        self.stem = conv(3, 8, 1)
        self.conv = conv(8, 8, 3, padding=1, bias=not norm)
        self.norm = batch_norm(8) if norm else nn.Identity()
        self.relu, self.around = nn.ReLU(), around

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.conv(x))
        z: Tensor = self.relu(y + x if self.around else y)
        return z


def converted(block: Block, x: Tensor, conv: Any, activation: Any) -> nn.Module:
    config = ds.SurgeryConfig(conv=conv, activation=activation)
    return perturbed(ds.convert(block, x, config))


def rewritten(net: nn.Module, x: Tensor) -> tuple[int, int]:
    """How many BatchNorms were split, and how many scales merged."""
    captured, *_ = captured_graph(net, x)
    fold_batch_norm(captured.model)
    return split_norm(captured.model), merge_scales(captured.model)


@pytest.mark.parametrize("norm", [False, True], ids=["bare", "norm"])
@pytest.mark.parametrize("activation", ["A", "B"])
@pytest.mark.parametrize("conv", ["scale", "se"])
def test_lines_take_the_scale(conv: str, activation: str, norm: bool, tmp_path: Path) -> None:
    x = torch.randn(3, 3, 6, 5)
    net = converted(Block(norm), x, conv, activation)
    assert rewritten(net, x) == (int(norm), 1)
    for batch in (3, None):
        path = tmp_path / f"{batch}.onnx"
        assert export_onnx(net, path, x, batch=batch).passed
        assert_close(run_onnx(path, x), [net(x).detach()])


def test_on_one_axis(tmp_path: Path) -> None:
    x = torch.randn(3, 3, 7)
    net = converted(Block(spatial=1), x, "scale", "B")
    assert rewritten(net, x) == (1, 1)
    assert export_onnx(net, tmp_path / "m.onnx", x, batch=3).passed
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


def test_in_the_native_layout(tmp_path: Path) -> None:
    x = torch.randn(1, 3, 6, 5)
    net = converted(Block(), x, "scale", "B")
    assert export_onnx(net, tmp_path / "m.onnx", x, batch=1, form="native").passed
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


@pytest.mark.parametrize("activation", [None, "B"])
@pytest.mark.parametrize("conv", ["scale", "se", "dcd"])
def test_a_norm_is_split_where_no_lines_follow(
    conv: str, activation: str | None, tmp_path: Path
) -> None:
    x = torch.randn(3, 3, 6, 5)
    net = converted(Block(around=activation is not None), x, conv, activation)
    assert rewritten(net, x) == (1, 0)
    assert export_onnx(net, tmp_path / "m.onnx", x, batch=3).passed
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


def test_shift_max_keeps_its_scale(tmp_path: Path) -> None:
    x = torch.randn(3, 3, 6, 5)
    net = converted(Block(), x, "scale", "shift-max")
    assert rewritten(net, x) == (1, 0)
    assert export_onnx(net, tmp_path / "m.onnx", x, batch=3).passed
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


class LookedAt(Block):
    """What comes before the activation is returned too."""

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.conv(self.stem(x)))
        return self.relu(y), y


def test_what_is_looked_at_elsewhere_stays(tmp_path: Path) -> None:
    x = torch.randn(3, 3, 6, 5)
    net = converted(LookedAt(), x, "scale", "B")
    assert rewritten(net, x) == (1, 0)
    assert export_onnx(net, tmp_path / "m.onnx", x, batch=3).passed
    assert_close(run_onnx(tmp_path / "m.onnx", x), [y.detach() for y in net(x)])


def test_there_is_one_multiplication_of_maps_less() -> None:
    x = torch.randn(3, 3, 6, 5)
    net = converted(Block(), x, ds.ScaleConfig(channels=False), "B")
    captured, target, signature = captured_graph(net, x)
    graph = lower(captured, target, signature).graph
    shapes = [node.outputs[0].shape for node in graph if node.op_type in ("Mul", "Add", "Max")]
    maps = [shape for shape in shapes if shape is not None and shape[-1] == 5]
    assert not [node for node in graph if node.op_type == "BatchNormalization"]
    assert len(maps) <= 5
