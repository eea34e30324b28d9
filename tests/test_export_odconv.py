"""Files of ODConv with one kernel: which kernels they hold as constants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest
import torch
from torch import nn

import dynsurgeon as ds

ODCONV = ds.SurgeryConfig(conv=ds.ODConvConfig(experts=1), activation=None, skip_stem=False)


def nodes(path: Path) -> list[ir.Node]:
    """Return the nodes of a file, those of bodies too."""
    return list(ir.load(path).graph.all_nodes())


def computed_kernels(path: Path) -> int:
    """Count convolutions whose kernel depends on an input."""

    def is_fixed(value: ir.Value | None) -> bool:
        if value is None or value.is_initializer():
            return True
        node = value.producer()
        return node is not None and all(map(is_fixed, node.inputs))

    return sum(n.op_type == "Conv" and not is_fixed(n.inputs[1]) for n in nodes(path))


@pytest.mark.parametrize(
    ("size", "groups", "computed"), [(6, 1, 0), (20, 1, 1), (6, 4, 1)], ids=str
)
def test_small_maps_keep_constant_kernels(
    size: int, groups: int, computed: int, tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=groups), nn.ReLU()).eval()
    x = torch.randn(2, 4, size, size)
    ds.export_onnx(ds.convert(net, x, ODCONV), tmp_path / "f.onnx", x)
    assert computed_kernels(tmp_path / "f.onnx") == computed


def test_a_free_batch_and_size_keep_constant_kernels(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval()
    x = torch.randn(2, 3, 8, 8)
    dynamic = ds.convert(net, x, ODCONV)
    ds.export_onnx(dynamic, tmp_path / "f.onnx", x, dynamic_size=True, form="portable")
    assert computed_kernels(tmp_path / "f.onnx") == 0


def test_without_places_a_file_needs_no_loop_over_samples(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval()
    x = torch.randn(2, 3, 8, 8)
    config = replace(ODCONV, conv=ds.ODConvConfig(experts=1, space=False))
    ds.export_onnx(ds.convert(net, x, config), tmp_path / "f.onnx", x)
    assert "Scan" not in {node.op_type for node in nodes(tmp_path / "f.onnx")}
