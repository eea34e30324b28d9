"""Networks that fail on other sizes are told so in one line."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.running import first_line, run
from dynsurgeon.surgery.inputs import Inputs


def test_runs_on_a_copy_with_other_weights() -> None:
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(inplace=True))
    x = torch.ones(1, 2)
    assert float(run(net, Inputs(x), {"0.weight": torch.full((1, 2), 3.0)})) == 6
    assert torch.equal(x, torch.ones(1, 2))


def test_a_failure_names_shapes_and_cause() -> None:
    with pytest.raises(ExportError, match=r"Linear itself fails on .* \(3, 5\) \(mat1 and mat2"):
        run(nn.Linear(4, 2), Inputs(torch.zeros(3, 5)))


def test_first_line() -> None:
    assert first_line(ValueError("\n\nbad\nworse")) == "bad"
    assert first_line(ValueError()) == "ValueError"
