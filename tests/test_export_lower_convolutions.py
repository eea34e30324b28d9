"""Each site gets the first form that can stand there."""

from __future__ import annotations

import pytest
import torch
from export_nets import captured_graph, operators
from torch import Tensor, nn

from dynsurgeon.errors import ExportError
from dynsurgeon.export.forms.site import is_dynamic_conv
from dynsurgeon.export.passes.lower_convolutions import lower_convolutions
from dynsurgeon.operators import DynamicConv2d


class Frames(nn.Module):
    """A convolution of the sample, and one of its four frames as a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = DynamicConv2d(3, 4, 3)
        self.each = DynamicConv2d(3, 4, 3)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        return self.whole(clip[:, 0]), self.each(clip.flatten(0, 1))


def test_the_batch_inside_decides() -> None:
    captured, target, _ = captured_graph(Frames(), torch.randn(1, 4, 3, 6, 6))
    counts = lower_convolutions(captured.model, target.form.convolutions)
    assert counts == {"plain": 1, "grouped": 1}
    assert not any(is_dynamic_conv(node) for node in captured.model.graph)
    assert "dynsurgeon" not in captured.model.opset_imports
    assert operators(captured.model.graph).count("Conv") == 2


def test_no_form_is_an_error_with_its_reasons() -> None:
    captured, *_ = captured_graph(DynamicConv2d(3, 4, 3), torch.randn(2, 3, 6, 6), batch=2)
    with pytest.raises(ExportError, match="no form fits weight: plain needs one sample, got 2"):
        lower_convolutions(captured.model, ["plain"])
