"""Where K constant convolutions stand by rule: shapes alone decide."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from export_nets import assert_close, captured_graph, operators, perturbed, run_onnx
from torch import nn

from dynsurgeon.export.forms import CONV_FORMS, ConvSite
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.target import EXPORT_FORMS, Target
from dynsurgeon.export.tensors import set_tensor
from dynsurgeon.operators import DynamicConv2d


def layer(kernel: int = 3, stride: int = 1, groups: int = 8, experts: int = 4) -> DynamicConv2d:
    return DynamicConv2d(
        8, 8, kernel, stride=stride, padding=kernel // 2, groups=groups, experts=experts
    )


def site(conv: DynamicConv2d, side: int, batch: int) -> ConvSite:
    x = ir.Value(name="x", shape=ir.Shape([batch, 8, side, side]))
    pi = ir.Value(name="pi", shape=ir.Shape([batch, conv.experts]))
    weight = ir.Value(name="weight")
    set_tensor(weight, conv.weight)
    return ConvSite(x, pi, weight, None, conv.geometry, (0, 0, 0, 0))


@pytest.mark.parametrize(
    ("conv", "side", "batch", "stands"),
    [
        (layer(), 7, 1, True),
        (layer(), 14, 1, False),
        (layer(5), 14, 1, True),
        (layer(5), 28, 1, False),
        (layer(stride=2), 28, 1, True),
        (layer(groups=1), 7, 1, False),
        (layer(groups=4), 7, 1, False),
        (layer(experts=8), 7, 1, False),
        (layer(), 7, 2, False),
    ],
)
def test_the_rule(conv: DynamicConv2d, side: int, batch: int, stands: bool) -> None:
    obstacle = CONV_FORMS["depthwise"].obstacle(site(conv, side, batch))
    assert (obstacle is None) is stands


@pytest.mark.parametrize(
    ("words", "constant"),
    [
        ({}, True),
        ({"destination": "onnxruntime"}, True),
        ({"destination": "openvino"}, False),
        ({"destination": "web"}, False),
        ({"rounding": "int8"}, False),
        ({"rounding": "fp16"}, False),
    ],
)
@pytest.mark.parametrize("form", ["plain", "scan"])
def test_only_where_onnxruntime_runs_unrounded_kernels(
    form: str, words: dict[str, str], constant: bool
) -> None:
    batch = 1 if form == "plain" else None
    target = Target.choose(form, batch, **words)  # type: ignore[arg-type]
    assert ("depthwise" in target.convolutions) is constant


def test_a_file_has_constant_kernels(tmp_path: Path) -> None:
    net, x = perturbed(nn.Sequential(layer(), nn.BatchNorm2d(8))), torch.randn(1, 8, 7, 7)
    captured, target, names = captured_graph(net, x)
    model = lower(captured, target, names)
    assert operators(model.graph).count("Conv") == 4
    ir.save(model, tmp_path / "m.onnx")
    with torch.no_grad():
        assert_close(run_onnx(tmp_path / "m.onnx", x), [net(x)])


def test_the_table_names_forms_that_exist() -> None:
    for form in EXPORT_FORMS.values():
        assert set(form.quick_convolutions) <= set(CONV_FORMS)
