"""Smaller files: banks in 16 or 8 bits, or all in 16; each says what it loses."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
from export_nets import DynamicNet, perturbed, run_onnx
from onnx import TensorProto
from shared_traces import share_traces
from torch import nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.export import export_onnx, verify_onnx
from dynsurgeon.export.passes.round_bank import to_int8
from dynsurgeon.export.target import Target
from dynsurgeon.form_names import bank_name, rounding_name
from dynsurgeon.graphs.filters import Filters
from dynsurgeon.operators import DynamicConv2d

shared_traces = pytest.fixture(autouse=True)(share_traces)


@cache
def unchanged_net() -> nn.Module:
    return perturbed(DynamicNet())


every_form = pytest.mark.parametrize(
    ("form", "batch"),
    [("plain", 1), ("scan", None), ("grouped", 3), ("portable", None), ("native", None)],
)


@every_form
def test_banks_are_whole_numbers_and_the_difference_is_told(
    form: str, batch: int | None, tmp_path: Path
) -> None:
    net, x = unchanged_net(), torch.randn(batch or 2, 3, 12, 12)
    result = export_onnx(net, tmp_path / "m.onnx", x, form=form, batch=batch, bank="int8")
    assert result.passed
    assert result.rounding == "int8"
    assert not result.half
    assert 1e-4 < result.max_rel < 3e-2  # the rounding of the kernels, no more
    graph = onnx.load(tmp_path / "m.onnx").graph
    stored = {t.name: t.data_type for t in graph.initializer}
    assert sum(kind == TensorProto.INT8 for kind in stored.values()) == 2
    halved = [name for name, kind in stored.items() if kind == TensorProto.FLOAT16]
    assert len(halved) >= 2  # heads of the attentions; onnxruntime renames some in form native
    assert not [name for name in halved if "stem" in name or name.startswith("fc")]
    with torch.no_grad():
        expected = net(x)
    (found,) = run_onnx(tmp_path / "m.onnx", x)
    assert float((found - expected).abs().max()) < 3e-2 * float(expected.abs().max())
    verified = verify_onnx(net, tmp_path / "m.onnx", x)
    assert verified.rounding == "int8"
    assert verified.passed


@every_form
def test_banks_alone_are_halved_and_the_difference_is_told(
    form: str, batch: int | None, tmp_path: Path
) -> None:
    net, x = unchanged_net(), torch.randn(batch or 2, 3, 12, 12)
    result = export_onnx(net, tmp_path / "m.onnx", x, form=form, batch=batch, half=True)
    assert result.passed
    assert result.half
    assert 1e-6 < result.max_rel < 1e-2  # the kernels' rounding, no more
    graph = onnx.load(tmp_path / "m.onnx").graph
    halved = [t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert halved
    assert not [name for name in halved if "fc" in name or "stem" in name]
    verified = verify_onnx(net, tmp_path / "m.onnx", x)
    assert verified.half
    assert verified.passed


def test_the_file_is_a_quarter_as_large(tmp_path: Path) -> None:
    net, x = perturbed(DynamicConv2d(64, 64, 3)), torch.randn(1, 64, 8, 8)
    sizes = {}
    for bank in (None, "half", "int8"):
        export_onnx(net, tmp_path / "m.onnx", x, bank=bank)
        sizes[bank] = (tmp_path / "m.onnx").stat().st_size
    assert sizes["int8"] < 0.29 * sizes[None]
    assert 0.4 * sizes[None] < sizes["half"] < 0.55 * sizes[None]


@pytest.mark.parametrize(("bank", "factor"), [("half", -1), ("int8", -3)])
def test_a_bank_off_by_more_than_its_rounding_is_still_refused(
    bank: str, factor: int, tmp_path: Path
) -> None:
    net, x = perturbed(DynamicNet()), torch.randn(2, 3, 12, 12)
    export_onnx(net, tmp_path / "m.onnx", x, bank=bank)
    with torch.no_grad():
        net.conv2.weight[1] *= factor  # type: ignore[union-attr,operator,index]
    assert not verify_onnx(net, tmp_path / "m.onnx", x).passed


@pytest.mark.parametrize("columns", [1, 16])
def test_filters_of_any_size_side_by_side_keep_their_own_scale(columns: int) -> None:
    sizes = torch.logspace(-6, 3, 16)
    kernels = torch.randn(2, 16, 9) * sizes[:, None]
    order = kernels if columns == 1 else kernels.transpose(1, 2)
    whole, scales = to_int8(order.reshape(1, 2, -1), Filters(9, columns))
    back = (whole * scales).view(order.shape)  # one kernel after the other of the two
    error = (back - order).abs().amax((0, 2 if columns == 1 else 1))
    largest = kernels.abs().amax((0, 2))
    assert bool((error <= largest / 120).all())
    assert whole.dtype == torch.int8


def test_a_row_that_ends_within_a_filter_is_cut_between_its_pieces() -> None:
    bank = torch.randn(3, 2, 24)  # tiles of 24 numbers; a filter has 36
    whole, scales = to_int8(bank, Filters(36))
    assert whole.shape == (12, 12, 1)
    assert float(((whole * scales).view_as(bank) - bank).abs().max()) < 0.02


def test_what_a_kernel_loses_goes_to_the_next() -> None:
    kernels = torch.randn(1, 64).expand(4, -1)
    whole, scales = to_int8(kernels, Filters(64, kernels=4))
    back = (whole * scales).view(4, 64)
    step = float(kernels.abs().max()) / 127
    lost = (back - kernels).abs()
    assert float(lost.max()) <= 1.01 * step
    assert float((back.mean(0) - kernels[0]).abs().max()) <= 0.126 * step


@pytest.mark.parametrize("stacked", [False, True])
def test_tiles_and_stacks_are_rounded_kernel_by_kernel(stacked: bool) -> None:
    bank = torch.randn(6, 9, 2)  # filters of 18 numbers
    kernels = torch.stack([bank.flatten(1)] * 4)  # (K, O, F)
    order = kernels.transpose(0, 1).reshape(6, 4 * 9, 2) if stacked else kernels.flatten(1)
    shape = order.shape if stacked else (1, 4, 108)
    whole, scales = to_int8(order.reshape(shape), Filters(18, kernels=4))
    back = (whole * scales).view(shape)
    rows = back.view(6, 4, 18).transpose(0, 1) if stacked else back.view(4, 6, 18)
    gap = (rows.mean(0) - bank.flatten(1)).abs().amax(1)
    assert bool((gap <= bank.flatten(1).abs().amax(1) / 127 * 0.126).all())


def test_zeros_stay_zeros() -> None:
    whole, scales = to_int8(torch.zeros(1, 2, 9), Filters(9))
    assert not (whole * scales).any()
    assert bool(scales.isfinite().all())


def test_names_of_storages() -> None:
    assert bank_name(None) is None
    assert bank_name(None, half=True) == bank_name("half", half=True) == "half"
    with pytest.raises(ConfigError, match="unknown bank 'int4'; known: half, int8"):
        bank_name("int4")
    with pytest.raises(ConfigError, match="half stores the banks in half precision"):
        bank_name("int8", half=True)


@pytest.mark.parametrize(("form", "batch"), [("scan", None), ("plain", 1)])
def test_all_of_it_in_half_precision(form: str, batch: int | None, tmp_path: Path) -> None:
    net, x = unchanged_net(), torch.randn(batch or 2, 3, 12, 12)
    path = tmp_path / "m.onnx"
    result = export_onnx(net, path, x, form=form, batch=batch, precision="fp16")
    assert result.passed
    assert result.rounding == "fp16"
    assert 1e-5 < result.max_rel < 2e-2
    kinds = {t.data_type for t in onnx.load(path).graph.initializer}
    assert TensorProto.FLOAT not in kinds
    (found,) = run_onnx(path, x)
    assert found.dtype == torch.float32
    assert verify_onnx(net, path, x).passed


def test_precisions_that_contradict() -> None:
    assert rounding_name(None, "fp16") == "fp16"
    with pytest.raises(ConfigError, match="unknown precision 'int8'; known: fp16"):
        rounding_name(None, "int8")
    with pytest.raises(ConfigError, match="leave bank='int8' out"):
        rounding_name("int8", "fp16")
    with pytest.raises(ConfigError, match="'native' is for CPUs"):
        Target.choose("native", None, rounding="fp16")
