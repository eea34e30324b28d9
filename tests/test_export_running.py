"""Networks that fail on other sizes are told so in one line."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.running import replaced, run
from dynsurgeon.running.inputs import Inputs


def test_runs_on_a_copy_with_other_weights() -> None:
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(inplace=True))
    x = torch.ones(1, 2)
    assert float(run(net, Inputs(x), {"0.weight": torch.full((1, 2), 3.0)})) == 6
    assert torch.equal(x, torch.ones(1, 2))


def test_a_failure_names_shapes_and_cause() -> None:
    with pytest.raises(ExportError, match=r"Linear itself fails on .* \(3, 5\) \(mat1 and mat2"):
        run(nn.Linear(4, 2), Inputs(torch.zeros(3, 5)))


def test_a_place_with_two_names_is_replaced_and_put_back_once() -> None:
    net: Any = nn.Sequential(nn.Linear(2, 1), nn.Linear(2, 1))
    net.again, net[1].weight = net[0], net[0].weight  # one module twice; one tensor in two places
    weight, bias = net[0].weight, net[0].bias
    other = torch.zeros(1, 2)
    state = dict.fromkeys(("0.weight", "again.weight", "1.weight"), other)

    def fail() -> None:
        with replaced(net, {**state, "again.bias": other}):
            assert net[0].weight is net.again.weight is net[1].weight is net[0].bias is other
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert net[0].weight is net[1].weight is weight
    assert net[0].bias is bias
    assert torch.equal(bias, net.again.bias)
