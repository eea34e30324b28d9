from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from surgery_nets import Flow, Kernels
from torch import Tensor, nn

from dynsurgeon.surgery.owners.functional import (
    call_arguments,
    input_node,
    operand_names,
    static_conv_of,
)
from dynsurgeon.surgery.owners.trace import OwnerTrace, trace_owner

Call = Callable[[Any, Tensor], Tensor]

CALLS: dict[str, tuple[tuple[int, ...], tuple[int, ...], Call]] = {
    "plain": ((2, 6, 9, 9), (4, 6, 3, 3), lambda m, x: F.conv2d(x, m.w)),
    "positions": ((2, 6, 9, 9), (4, 3, 3, 3), lambda m, x: F.conv2d(x, m.w, m.b, 2, 1, 2, 2)),
    "keywords": (
        (2, 6, 9, 9),
        (4, 3, 3, 3),
        lambda m, x: F.conv2d(bias=m.b, groups=2, input=x, padding=(1, 0), weight=m.w),
    ),
    "same": ((2, 6, 9, 9), (4, 6, 3, 3), lambda m, x: F.conv2d(x, m.w, padding="same")),
    "no bias": ((2, 6, 9, 9), (4, 6, 3, 3), lambda m, x: F.conv2d(x, m.w, None, [2], [1])),
    "line": ((2, 6, 9), (6, 2, 3), lambda m, x: F.conv1d(x, m.w, None, (2,), 1, 1, 3)),
    "cube": ((2, 2, 5, 5, 5), (4, 2, 3, 3, 3), lambda m, x: F.conv3d(x, m.w, m.b, (1, 2, 1))),
    "transposed line": (
        (2, 6, 9),
        (6, 4, 3),
        lambda m, x: F.conv_transpose1d(x, m.w, m.b, 2, 1, 1),
    ),
    "transposed": (
        (2, 6, 9, 9),
        (6, 2, 3, 3),
        lambda m, x: F.conv_transpose2d(x, m.w, m.b, 2, 1, 1, 2, 1),
    ),
    "transposed cube": (
        (2, 2, 4, 4, 4),
        (2, 4, 3, 3, 3),
        lambda m, x: F.conv_transpose3d(x, m.w, bias=m.b, stride=2, dilation=2),
    ),
}


def traced(call: Call, weight: tuple[int, ...]) -> tuple[OwnerTrace, Any]:
    owner = Flow(call)
    owner.w = nn.Parameter(torch.randn(weight))
    owner.b = nn.Parameter(torch.randn(4))
    return trace_owner(owner, {}), owner


@pytest.mark.parametrize("name", CALLS)
def test_the_module_computes_what_the_call_computes(name: str) -> None:
    shape, weight, call = CALLS[name]
    trace, owner = traced(call, weight)
    (key,) = trace.calls("eval")
    conv = static_conv_of(trace, key)
    assert conv is not None
    x = torch.randn(shape)
    torch.testing.assert_close(conv(x), call(owner, x), rtol=0, atol=0)
    assert conv.weight is owner.w
    assert conv.bias is None or conv.bias is owner.b


@pytest.mark.parametrize("name", CALLS)
def test_the_operands_are_weight_and_bias_in_that_order(name: str) -> None:
    _, weight, call = CALLS[name]
    trace, _ = traced(call, weight)
    (node,) = trace.call_nodes("eval")
    names = operand_names(node)
    assert names[0] == "w"
    assert names[1:] in ((), ("b",))
    assert str(input_node(node)) == "x"
    assert str(call_arguments(node)["input"]) == "x"


def test_an_activation_has_no_operands() -> None:
    trace, _ = traced(lambda m, x: F.leaky_relu(x, 0.1), (4, 3, 3, 3))
    (node,) = trace.call_nodes("eval")
    assert operand_names(node) == ()


def test_a_call_that_is_not_there() -> None:
    net = Kernels()
    other, _ = traced(lambda m, x: F.conv2d(x, m.w), (4, 3, 3, 3))
    assert static_conv_of(trace_owner(net, {}), other.calls("eval")[0]) is None
