"""A maximum of lines in each form: where it stands, what it is made of, and its numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from export_nets import assert_close, captured_graph, operators, perturbed, run_onnx
from torch import Tensor, nn

from dynsurgeon.export.lines import LINES_FORMS
from dynsurgeon.export.lines.normalised import SMALL_MAP
from dynsurgeon.export.lines.site import LinesSite, is_lines
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.target import EXPORT_FORMS, Target
from dynsurgeon.operators import DynamicReLUA, DynamicReLUB
from dynsurgeon.operators.shift_max import ShiftMax

SMALL, LARGE = 7, 21


class Between(nn.Module):
    """An activation behind a convolution."""

    def __init__(self, activation: nn.Module, channels: int = 8) -> None:
        super().__init__()
        self.conv, self.activation = nn.Conv2d(3, channels, 1), activation

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.conv(x))
        return y


def lowered(
    net: nn.Module, size: int, folder: Path, destination: str | None = None
) -> Counter[str]:
    """Check a file of batch 1 against torch, and return its operators."""
    x = torch.randn(1, 3, size, size)
    net = perturbed(net)
    captured, _, names = captured_graph(net, x, "plain")
    model = lower(captured, Target.choose("plain", 1, destination=destination), names)
    ir.save(model, folder / "m.onnx")
    with torch.no_grad():
        assert_close(run_onnx(folder / "m.onnx", x), [net(x)])
    return Counter(operators(model.graph))


def site_of(net: nn.Module, x: Tensor, form: str = "plain", batch: int | None = 1) -> LinesSite:
    captured, *_ = captured_graph(net, x, form, batch)
    return LinesSite.of(next(node for node in captured.model.graph if is_lines(node)))


@pytest.mark.parametrize(
    ("layer", "size", "expected"),
    [
        (DynamicReLUB(8), SMALL, {"BatchNormalization": 2, "Max": 1, "Conv": 1}),
        (DynamicReLUB(8, pieces=3), SMALL, {"BatchNormalization": 3, "Max": 1, "Conv": 1}),
        (DynamicReLUB(8), LARGE, {"Conv": 3, "Relu": 2, "BatchNormalization": 0, "Max": 0}),
        (DynamicReLUB(8, pieces=3), LARGE, {"Conv": 1, "Max": 1, "BatchNormalization": 0}),
        (DynamicReLUA(8), LARGE, {"Conv": 1, "Max": 1, "BatchNormalization": 0}),
        (ShiftMax(8, lambda_b=0.0), LARGE, {"Conv": 5, "Gather": 1, "Max": 0}),
        (ShiftMax(8), SMALL, {"Conv": 1, "Gather": 1, "Max": 1, "BatchNormalization": 0}),
    ],
)
def test_the_form_that_suits_the_size(
    layer: nn.Module, size: int, expected: dict[str, int], tmp_path: Path
) -> None:
    found = lowered(Between(layer), size, tmp_path)
    assert {name: found[name] for name in expected} == expected


def test_other_runtimes_get_plain_products(tmp_path: Path) -> None:
    found = lowered(Between(DynamicReLUB(8)), LARGE, tmp_path, "openvino")
    assert (found["Conv"], found["Max"], found["BatchNormalization"]) == (1, 1, 0)
    for name in ("web", "tensorrt"):
        assert Target.choose("plain", 1, destination=name).lines == ("elementwise",)
    assert Target.choose("portable", None).lines == ("elementwise",)


def test_every_line_is_one_of_the_table() -> None:
    named = {name for form in EXPORT_FORMS.values() for name in (*form.lines, *form.quick_lines)}
    assert named == set(LINES_FORMS)
    assert all(form.lines[-1] == "elementwise" for form in EXPORT_FORMS.values())


def test_half_precision_and_several_samples_get_no_quick_form() -> None:
    assert Target.choose("plain", 1, rounding="fp16").lines == ("elementwise",)
    assert Target.choose("plain", 1, rounding="int8").lines[0] == "normalised"
    x = torch.randn(2, 3, SMALL, SMALL)
    site = site_of(Between(DynamicReLUB(8)), x, "grouped", 2)
    for name in ("pointwise", "grouped", "normalised"):
        assert "one sample" in str(LINES_FORMS[name].obstacle(site)) or name == "grouped"
    assert LINES_FORMS["elementwise"].obstacle(site) is None


def test_the_two_quick_forms_share_the_sizes_out() -> None:
    assert SMALL * SMALL <= SMALL_MAP < LARGE * LARGE
    x = torch.randn(1, 3, LARGE, LARGE)
    site = site_of(Between(DynamicReLUB(8)), x)
    for places, quick in ((SMALL_MAP, "normalised"), (SMALL_MAP + 1, "grouped")):
        sized = ir.Value(name="x", shape=ir.Shape([1, 8, 1, places]))
        smaller = replace(site, x=sized)
        fitting = [n for n in ("normalised", "grouped") if LINES_FORMS[n].obstacle(smaller) is None]
        assert fitting == [quick]
