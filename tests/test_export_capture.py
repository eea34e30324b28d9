"""Tracing: one node a dynamic convolution, weights under their own names, clear refusals."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
import pytest
import torch
from export_nets import DynamicNet, captured_graph, operators
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.capture import capture
from dynsurgeon.export.forms.site import ConvSite, is_dynamic_conv
from dynsurgeon.export.target import Target
from dynsurgeon.operators import DynamicConv2d, DynamicConvTranspose2d
from dynsurgeon.running.inputs import Inputs


def test_each_dynamic_convolution_is_one_node_on_its_bank() -> None:
    net = DynamicNet()
    captured, *_ = captured_graph(net, torch.randn(1, 3, 12, 12))
    nodes = [node for node in captured.model.graph if is_dynamic_conv(node)]
    assert [ConvSite.of(node).weight.name for node in nodes] == ["conv1.weight", "conv2.weight"]
    assert operators(captured.model.graph).count("Conv") == 1
    assert captured.model.graph.name == "DynamicNet"


def test_weights_keep_their_keys_and_their_memory() -> None:
    net = DynamicNet()
    captured, *_ = captured_graph(net, torch.randn(1, 3, 12, 12))
    assert captured.weights == set(net.state_dict()) - {
        key for key in net.state_dict() if key.endswith("num_batches_tracked")
    }
    bank = captured.model.graph.initializers["conv1.weight"].const_value
    assert isinstance(bank, ir.TensorProtocol)
    assert bank.raw.data_ptr() == net.conv1.weight.data_ptr()


def test_the_node_holds_the_whole_geometry() -> None:
    net = DynamicConvTranspose2d(4, 6, (2, 3), (2, 1), (1, 0), (1, 0), groups=2, dilation=(1, 2))
    captured, *_ = captured_graph(net, torch.randn(1, 4, 5, 6))
    site = ConvSite.of(next(node for node in captured.model.graph if is_dynamic_conv(node)))
    assert site.geometry.transposed
    assert site.geometry.stride == (2, 1)
    assert site.geometry.dilation == (1, 2)
    assert site.geometry.groups == 2
    assert site.geometry.output_padding == (1, 0)
    assert site.pads == (1, 0, 1, 0)
    assert site.kernel_shape == (4, 3, 2, 3)
    assert site.out_channels == 6


class Branching(nn.Module):
    """Control flow on values, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = DynamicConv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y if bool(y.sum() > 0) else -y


def test_a_model_that_no_exporter_can_follow_is_told_from_its_dynamic_layers(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ExportError) as caught:
        capture(Branching().eval(), Inputs(torch.randn(2, 3, 6, 6)), Target.choose("rule", 2))
    message = str(caught.value)
    assert "it is the model and not its dynamic layers" in message
    assert "torch.onnx.export says: " in message
    assert "\n" not in message
    assert capfd.readouterr() == ("", "")


def test_a_fault_of_the_dynamic_layers_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(torch.onnx.ops, "symbolic", broken)
    with pytest.raises(ExportError, match="dynamic layers of DynamicNet can't be exported"):
        captured_graph(DynamicNet(), torch.randn(1, 3, 12, 12))


class FixedSize(nn.Module):
    """Works at one size alone."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(3, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.offset


def test_an_axis_that_the_model_fixes_is_named() -> None:
    target = Target.choose("rule", None, dynamic_size=True)
    with pytest.raises(ExportError, match="not with free height, width: export it without dyn"):
        capture(FixedSize().eval(), Inputs(torch.randn(1, 3, 6, 6)), target)
