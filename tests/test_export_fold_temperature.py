"""The temperature goes into the attention's last layer where that layer has one user."""

from __future__ import annotations

from typing import Any

import torch
from export_nets import captured_graph, operators, perturbed
from torch import Tensor, nn

from dynsurgeon.config import DynamicConvConfig
from dynsurgeon.export.passes.fold_temperature import fold_temperature
from dynsurgeon.export.tensors import tensor_of
from dynsurgeon.operators import DynamicConv2d


def test_weights_and_bias_are_divided() -> None:
    net: Any = perturbed(DynamicConv2d(3, 4, 3, config=DynamicConvConfig(temperature=7.0)))
    captured, *_ = captured_graph(net, torch.randn(1, 3, 6, 6))
    assert "Div" in operators(captured.model.graph)
    assert fold_temperature(captured.model) == 1
    assert "Div" not in operators(captured.model.graph)
    weights = captured.model.graph.initializers
    fc2 = net.attention.fc2
    torch.testing.assert_close(tensor_of(weights["attention.fc2.weight"]), fc2.weight.detach() / 7)
    torch.testing.assert_close(tensor_of(weights["attention.fc2.bias"]), fc2.bias.detach() / 7)


class Twice(nn.Module):
    """One convolution at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = DynamicConv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.conv(x))
        return y


def test_a_shared_attention_keeps_its_division() -> None:
    captured, *_ = captured_graph(Twice(), torch.randn(1, 3, 8, 8))
    assert fold_temperature(captured.model) == 0
    assert operators(captured.model.graph).count("Div") == 2
