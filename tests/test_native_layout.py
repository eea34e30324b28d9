"""The layout of this CPU: the same numbers, by fast operators with computed kernels."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch
from export_nets import (
    assert_close,
    body_of,
    branch_input,
    captured_graph,
    conv_branches,
    perturbed,
    run_onnx,
)
from native_cpu import in_plain_operators, optimise_for
from shared_traces import share_traces
from torch import Tensor, nn

from dynsurgeon.export import export_onnx
from dynsurgeon.export.lowering import lower
from dynsurgeon.graphs.native import layout
from dynsurgeon.graphs.native.guard import block_width
from dynsurgeon.graphs.native.memory import BLOCKS
from dynsurgeon.graphs.native.optimise import NCHWC
from dynsurgeon.operators import DynamicConv2d, DynamicReLUA, DynamicReLUB, DynamicReLUC

shared_traces = pytest.fixture(autouse=True)(share_traces)
needs_blocks = pytest.mark.skipif(block_width() not in (8, 16), reason="no NCHWc on this CPU")


class Blocks(nn.Module):
    """Channels in whole blocks and not, depthwise, a residual sum, and every DY-ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.expand = DynamicConv2d(16, width, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.depthwise = DynamicConv2d(width, width, 3, padding=1, groups=width)
        self.project = DynamicConv2d(width, 16, 1)
        self.relus = nn.ModuleList([DynamicReLUA(16), DynamicReLUB(width), DynamicReLUC(16)])
        self.fc = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relus[0](self.stem(x))
        y = torch.relu(self.depthwise(self.relus[1](self.bn(self.expand(x)))))
        logits: Tensor = self.fc(self.relus[2](x + self.project(y)).mean(dim=(2, 3)))
        return logits


@cache
def blocks(width: int) -> nn.Module:
    return perturbed(Blocks(width))


@needs_blocks
@pytest.mark.parametrize(
    ("width", "batch"),
    [
        *((32, None), (32, 1), (32, 3), (24, None), (24, 1), (6, None), (6, 1)),
        # Three samples take the same Scan as any number: the widths above have been through it.
        *(pytest.param(width, 3, marks=pytest.mark.slow) for width in (24, 6)),
    ],
)
def test_numbers_stay_and_fast_operators_come(
    width: int, batch: int | None, tmp_path: Path
) -> None:
    net = blocks(width)
    x = torch.randn(batch or 4, 3, 9, 7)
    result = export_onnx(net, tmp_path / "m.onnx", x, form="native", batch=batch)
    assert result.passed
    with torch.no_grad():
        assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x)])
    stored = onnx.load(tmp_path / "m.onnx")
    graph = stored.graph if batch == 1 else body_of(stored)
    constants = {tensor.name for tensor in graph.initializer}
    fast = [node for node in graph.node if (node.domain, node.op_type) == (NCHWC, "Conv")]
    assert sum(node.input[1] not in constants for node in fast) >= 2


@needs_blocks
def test_every_geometry(tmp_path: Path) -> None:
    net = perturbed(conv_branches(2))
    result = export_onnx(net, tmp_path / "m.onnx", branch_input(2), form="native")
    assert result.passed
    x = branch_input(2, 3)
    with torch.no_grad():
        assert_close(run_onnx(tmp_path / "m.onnx", x), list(net(x).values()))


@needs_blocks
def test_size_can_stay_free(tmp_path: Path) -> None:
    net, x = perturbed(Blocks(16)), torch.randn(2, 3, 32, 32)
    assert export_onnx(net, tmp_path / "m.onnx", x, form="native", dynamic_size=True).passed


@needs_blocks
def test_a_bank_is_stored_once(tmp_path: Path) -> None:
    net = DynamicConv2d(64, 64, 3)
    export_onnx(net, tmp_path / "m.onnx", torch.randn(1, 64, 8, 8), form="native", batch=1)
    bank = 4 * net.weight.numel()
    assert bank < (tmp_path / "m.onnx").stat().st_size < 1.1 * bank + 20_000


@needs_blocks
def test_another_width_of_blocks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that claims blocks of the other width is what this CPU's file is to such a CPU."""
    from dynsurgeon.export.job import Job

    other = 24 - block_width()
    monkeypatch.setattr(layout, "block_width", lambda: other)
    monkeypatch.setattr(Job, "prove", lambda self, trial, result: result)
    net, x = blocks(32), torch.randn(1, 3, 9, 7)
    for batch in (1, None):
        export_onnx(net, tmp_path / "m.onnx", x, form="native", batch=batch)
        with pytest.raises(Exception, match=f"CPUs with blocks of {other} channels"):
            run_onnx(tmp_path / "m.onnx", x)


@pytest.mark.parametrize("cpu", BLOCKS)
@pytest.mark.parametrize("width", [32, 24, 6])
def test_kernels_are_put_back_for_cpus_of_either_width(
    width: int, cpu: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "optimise", partial(optimise_for, width=cpu))
    monkeypatch.setattr(layout, "block_width", lambda: cpu)
    net, x = blocks(width), torch.randn(1, 3, 9, 7)
    captured, target, names = captured_graph(net, x, "native")
    model = lower(captured, target, names)
    constants = set(model.graph.initializers)
    fast = [node for node in model.graph if (node.domain, node.op_type) == (NCHWC, "Conv")]
    assert sum(str(node.inputs[1].name) not in constants for node in fast if node.inputs[1]) >= 3
    ir.save(in_plain_operators(model, cpu), tmp_path / "m.onnx")
    with torch.no_grad():
        assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x)])
