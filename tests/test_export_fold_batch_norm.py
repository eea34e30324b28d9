"""BatchNorm goes into the bank, exactly, wherever nothing else looks between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from export_nets import assert_close, captured_graph, operators, perturbed, run_onnx
from shared_traces import share_equal_traces
from torch import Tensor, nn

from dynsurgeon.export import export_onnx
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.passes.fold_batch_norm import fold_batch_norm
from dynsurgeon.export.target import EXPORT_FORMS
from dynsurgeon.export.tensors import tensor_of
from dynsurgeon.operators import (
    DynamicConv1d,
    DynamicConv2d,
    DynamicConv3d,
    DynamicConvTranspose2d,
)

equal_traces = pytest.fixture(autouse=True)(share_equal_traces)

CONVOLUTIONS: dict[str, tuple[nn.Module, int]] = {
    "1d": (DynamicConv1d(4, 6, 3), 1),
    "2d without bias": (DynamicConv2d(4, 6, 3, bias=False), 2),
    "2d in groups": (DynamicConv2d(4, 6, 3, groups=2), 2),
    "3d": (DynamicConv3d(4, 6, 2), 3),
    "transposed in groups": (DynamicConvTranspose2d(4, 6, 3, groups=2, bias=False), 2),
    "static": (nn.Conv2d(4, 6, 3, bias=False), 2),
    "static transposed": (nn.ConvTranspose2d(4, 6, 3, groups=2), 2),
}
NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


@pytest.mark.parametrize("which", CONVOLUTIONS)
def test_folds_exactly(which: str, tmp_path: Path) -> None:
    conv, spatial = CONVOLUTIONS[which]
    net = perturbed(nn.Sequential(conv, NORMS[spatial](6)))
    x = torch.randn(1, 4, *(6, 5, 4)[:spatial])
    assert export_onnx(net, tmp_path / "m.onnx", x, batch=1).passed
    assert "BatchNormalization" not in operators(ir.load(tmp_path / "m.onnx").graph)
    assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x).detach()])


def test_each_kernel_is_scaled_and_each_bias_shifted() -> None:
    net = perturbed(nn.Sequential(DynamicConv2d(2, 3, 1), nn.BatchNorm2d(3)))
    conv: Any = net[0]  # type: ignore[index]
    norm: Any = net[1]  # type: ignore[index]
    captured, *_ = captured_graph(net, torch.randn(1, 2, 4, 4))
    assert fold_batch_norm(captured.model) == 1
    weights = captured.model.graph.initializers
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    torch.testing.assert_close(
        tensor_of(weights["0.weight"]), (conv.weight * scale.view(1, 3, 1, 1, 1)).detach()
    )
    shifted = scale * (conv.bias - norm.running_mean) + norm.bias
    torch.testing.assert_close(tensor_of(weights["0.bias"]), shifted.detach())


def test_a_missing_bias_is_added_under_its_name_once_for_all_kernels() -> None:
    net = perturbed(nn.Sequential(DynamicConv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3)))
    norm: Any = net[1]  # type: ignore[index]
    captured, *_ = captured_graph(net, torch.randn(1, 2, 4, 4))
    fold_batch_norm(captured.model)
    shift = norm.bias - norm.running_mean * norm.weight / torch.sqrt(norm.running_var + norm.eps)
    added = tensor_of(captured.model.graph.initializers["0.bias"])
    torch.testing.assert_close(added, shift.detach())


@pytest.mark.parametrize(
    ("form", "batch"),
    [("plain", 1), ("grouped", 3), ("matmul", 3), ("portable", None)],
)
def test_one_bias_for_all_kernels_is_not_mixed(
    form: str, batch: int | None, tmp_path: Path
) -> None:
    net = perturbed(nn.Sequential(DynamicConv2d(4, 6, 1, bias=False), nn.BatchNorm2d(6)))
    x = torch.randn(batch or 2, 4, 5, 5)
    layout = form if form in EXPORT_FORMS else "rule"
    captured, target, names = captured_graph(net, x, layout, batch)
    model = lower(captured, replace(target, sites={"0.weight": form}), names)
    ir.save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x)])
    users = [use.node.op_type for use in model.graph.initializers["0.bias"].uses()]
    mixed = sum(1 for node in model.graph if node.op_type == "MatMul")
    assert "MatMul" not in users
    assert mixed == {"plain": 1, "grouped": 1, "matmul": 2}.get(form, 0)


def test_the_network_keeps_its_own_weights() -> None:
    net = perturbed(nn.Sequential(DynamicConv2d(2, 3, 1), nn.BatchNorm2d(3)))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    captured, *_ = captured_graph(net, torch.randn(1, 2, 4, 4))
    fold_batch_norm(captured.model)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


class Looked(nn.Module):
    """The convolution's output is used beside BatchNorm, or the convolution is called twice."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.conv = DynamicConv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.twice = twice

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        result: Tensor = self.norm(y) + (self.conv(y) if self.twice else y)
        return result


@pytest.mark.parametrize("twice", [False, True])
def test_does_not_fold_what_others_see(twice: bool, tmp_path: Path) -> None:
    net = perturbed(Looked(twice))
    x = torch.randn(1, 3, 5, 5)
    captured, *_ = captured_graph(net, x)
    assert fold_batch_norm(captured.model) == 0
    assert export_onnx(net, tmp_path / "m.onnx", x).passed
