"""Kernel banks in half precision: half the file, single precision inside, and it says so."""

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

from dynsurgeon.export import export_onnx, verify_onnx
from dynsurgeon.operators import DynamicConv2d

shared_traces = pytest.fixture(autouse=True)(share_traces)


@cache
def unchanged_net() -> nn.Module:
    return perturbed(DynamicNet())


@pytest.mark.parametrize(
    ("form", "batch"),
    [("plain", 1), ("scan", None), ("grouped", 3), ("portable", None), ("native", None)],
)
def test_banks_alone_are_halved_and_the_difference_is_told(
    form: str, batch: int | None, tmp_path: Path
) -> None:
    net, x = unchanged_net(), torch.randn(batch or 2, 3, 12, 12)
    result = export_onnx(net, tmp_path / "m.onnx", x, form=form, batch=batch, half=True)
    assert result.passed
    assert result.half
    assert 1e-6 < result.max_rel < 1e-2  # the kernels' rounding, no more
    graph = onnx.load(tmp_path / "m.onnx").graph
    halved = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT16]
    assert halved
    assert not [tensor.name for tensor in halved if "fc" in tensor.name or "stem" in tensor.name]
    with torch.no_grad():
        expected = net(x)
    (found,) = run_onnx(tmp_path / "m.onnx", x)
    assert float((found - expected).abs().max()) < 1e-2 * float(expected.abs().max())
    verified = verify_onnx(net, tmp_path / "m.onnx", x)
    assert verified.half
    assert verified.passed


def test_the_file_is_half_as_large(tmp_path: Path) -> None:
    net, x = perturbed(DynamicConv2d(64, 64, 3)), torch.randn(1, 64, 8, 8)
    for half in (False, True):
        export_onnx(net, tmp_path / f"{half}.onnx", x, half=half)
    full, half_size = ((tmp_path / f"{half}.onnx").stat().st_size for half in (False, True))
    assert half_size < 0.55 * full


def test_a_bank_off_by_more_than_its_rounding_is_still_refused(tmp_path: Path) -> None:
    net, x = perturbed(DynamicNet()), torch.randn(2, 3, 12, 12)
    export_onnx(net, tmp_path / "m.onnx", x, half=True)
    with torch.no_grad():
        net.conv2.weight[1] *= -1  # type: ignore[union-attr,operator,index]
    assert not verify_onnx(net, tmp_path / "m.onnx", x).passed
