"""Every form computes what torch computes, for every geometry, with attention far from uniform."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx_ir as ir
import pytest
import torch
from export_nets import (
    assert_close,
    branch_input,
    captured_graph,
    conv_branches,
    perturbed,
    run_onnx,
)
from shared_traces import share_traces
from torch import nn

import dynsurgeon.export.forms as table
from dynsurgeon.export import export_onnx
from dynsurgeon.export.capture import Captured
from dynsurgeon.export.forms import CONV_FORMS, ConvSite
from dynsurgeon.export.forms.site import explicit_pads, is_dynamic_conv
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.signature import Signature
from dynsurgeon.export.target import Target
from dynsurgeon.operators import DynamicConv2d
from dynsurgeon.operators.geometry import ConvGeometry

shared_traces = pytest.fixture(autouse=True)(share_traces)


@cache
def _net(spatial: int) -> nn.Module:
    return perturbed(conv_branches(spatial))


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize(
    ("form", "batch"),
    [("scan", None), ("portable", None), ("grouped", 3), ("plain", 1), ("native", 1)],
)
def test_every_geometry_in_every_form(
    spatial: int, form: str, batch: int | None, tmp_path: Path
) -> None:
    net = _net(spatial)
    result = export_onnx(net, tmp_path / "m.onnx", branch_input(spatial), form=form, batch=batch)
    assert result.passed
    assert result.form == form
    x = branch_input(spatial, batch or 4)
    with torch.no_grad():
        expected = net(x)
    assert list(expected) == list(result.outputs)
    assert_close(run_onnx(tmp_path / "m.onnx", x), list(expected.values()))


def test_portable_form_has_constant_kernels_only(tmp_path: Path) -> None:
    _, captured, target, names = _branches(2, None)
    ir.save(lower(captured, target, names), tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    constants = {tensor.name for tensor in graph.initializer}
    kernels = [node.input[1] for node in graph.node if node.op_type.startswith("Conv")]
    assert len(kernels) == 11
    assert set(kernels) <= constants


def test_grouped_form_needs_a_fixed_batch_and_plain_one_sample() -> None:
    net = DynamicConv2d(3, 4, 3)
    free, *_ = captured_graph(net, torch.randn(2, 3, 6, 6), "portable", None)
    two, *_ = captured_graph(net, torch.randn(2, 3, 6, 6), "grouped", 2)
    free_site, two_site = (_site(captured.model) for captured in (free, two))
    assert free_site.batch is None
    assert CONV_FORMS["grouped"].obstacle(free_site) == "needs a fixed batch"
    assert CONV_FORMS["grouped"].obstacle(two_site) is None
    assert "got 2" in str(CONV_FORMS["plain"].obstacle(two_site))
    assert CONV_FORMS["portable"].obstacle(free_site) is None


def test_the_table_is_named_by_its_entries() -> None:
    assert {name: form.name for name, form in CONV_FORMS.items()} == {k: k for k in CONV_FORMS}
    assert set(table.__all__) >= {"CONV_FORMS", "ConvForm"}


def test_same_padding_puts_the_odd_zero_after() -> None:
    geometry = ConvGeometry(2, (1, 1), "same", (1, 3), 1)
    assert explicit_pads(geometry, torch.Size((4, 2))) == [1, 1, 2, 2]


def _site(model: ir.Model) -> ConvSite:
    return ConvSite.of(next(node for node in model.graph if is_dynamic_conv(node)))


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("form", ["matmul", "experts"])
def test_every_geometry_in_the_forms_that_are_chosen_by_measurement(
    form: str, batch: int | None, spatial: int
) -> None:
    net, captured, target, names = _branches(spatial, batch)
    banks = {_weight(node): form for node in captured.model.graph if is_dynamic_conv(node)}
    lowered = lower(captured, replace(target, sites=banks), names)
    used = [node.op_type for node in lowered.graph]
    assert ("Sum" if form == "experts" else "MatMul") in used
    x = branch_input(spatial, batch or 5)
    with torch.no_grad():
        expected = list(net(x).values())
    assert_close(_run(lowered, x), expected)


def _branches(spatial: int, batch: int | None) -> tuple[nn.Module, Captured, Target, Signature]:
    net, kind = _net(spatial), "portable" if batch is None else "rule"
    return net, *captured_graph(net, branch_input(spatial, batch or 2), kind, batch)


def _weight(node: ir.Node) -> str:
    return str(ConvSite.of(node).weight.name)


def _run(model: ir.Model, x: torch.Tensor) -> list[torch.Tensor]:
    with TemporaryDirectory() as folder:
        ir.save(model, Path(folder, "m.onnx"))
        return run_onnx(Path(folder, "m.onnx"), x)
