"""A model that fails by itself is told so, with the place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nets import TinyNet
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.running.blame import model_failure


class Picky(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != 16:
            raise ValueError("only 16 will do\nand nothing else")
        return x


@pytest.mark.parametrize("planned", [False, True])
def test_the_failing_module_and_the_first_line_are_named(
    tiny_resnet: TinyNet, planned: bool
) -> None:
    net: Any = tiny_resnet
    net.layer1.append(Picky())
    config = ds.plan(net, net.example()) if planned else None
    with pytest.raises(ds.SurgeryError) as error:
        ds.convert(net, torch.zeros(2, 3, 8, 8), config)
    assert str(error.value) == (
        "the model itself can't run on these example inputs: 'layer1.1' (Picky) raises ValueError: "
        "only 16 will do"
    )


def test_a_failure_in_its_own_forward() -> None:
    net = Picky()
    try:
        net(torch.zeros(1, 3))
    except ValueError as error:
        told = model_failure(net, error, "these")
    assert "its own forward (Picky) raises ValueError: only 16" in str(told)
