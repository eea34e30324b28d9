"""Simplification: pools, turned weights, zero biases, and nothing that depends on weights."""

from __future__ import annotations

import pytest
import torch
from export_nets import DynamicNet, captured_graph, operators
from torch import Tensor, nn

from dynsurgeon.export.lowering import lower
from dynsurgeon.export.perturb import perturbed_state
from dynsurgeon.export.tensors import tensor_of
from dynsurgeon.operators import DynamicReLUC
from dynsurgeon.running.inputs import Inputs


class Mean(nn.Module):
    """A mean over some axes."""

    def __init__(self, axes: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axes, keepdim=self.keepdim)


@pytest.mark.parametrize(
    ("axes", "keepdim", "expected"),
    [
        ((2, 3), False, ["GlobalAveragePool", "Flatten"]),
        ((-1, -2), True, ["GlobalAveragePool"]),
        ((1, 2), False, ["ReduceMean"]),
        ((3,), False, ["ReduceMean"]),
    ],
)
def test_means_over_space_become_global_pools(
    axes: tuple[int, ...], keepdim: bool, expected: list[str]
) -> None:
    graph = lower(*captured_graph(Mean(axes, keepdim), torch.randn(1, 3, 4, 5))).graph
    assert operators(graph) == expected


def test_turned_weights_are_stored_turned_under_their_name() -> None:
    net = DynamicReLUC(3)
    graph = lower(*captured_graph(net, torch.randn(1, 3, 4, 5))).graph
    turned = tensor_of(graph.initializers["spatial.weight"])
    assert torch.equal(turned, net.spatial.weight.detach().T)


def test_convolutions_without_bias_have_none() -> None:
    graph = lower(*captured_graph(nn.Conv2d(3, 4, 3, bias=False), torch.randn(1, 3, 5, 5))).graph
    (node,) = graph
    assert [value.name for value in node.inputs if value] == ["input", "weight"]


def test_a_zero_bias_that_is_a_weight_stays() -> None:
    conv = nn.Conv2d(3, 4, 3)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    graph = lower(*captured_graph(conv, torch.randn(1, 3, 5, 5))).graph
    assert set(graph.initializers) == {"weight", "bias"}


def test_the_verified_graph_is_the_written_one_whatever_the_weights() -> None:
    net, x = DynamicNet().eval(), torch.randn(3, 3, 12, 12)
    with torch.no_grad():
        state = perturbed_state(net, Inputs(x), torch.Generator().manual_seed(0))
    captured, target, names = captured_graph(net, x[:1])
    start, moved = (lower(captured, target, names, s).graph for s in ({}, state))
    assert operators(start) == operators(moved)
    assert list(start.initializers) == list(moved.initializers)
    assert not torch.equal(
        *(tensor_of(graph.initializers["relu.fc2.weight"]) for graph in (start, moved))
    )
