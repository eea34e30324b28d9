"""Channel scales merge into what follows: the lines of a DY-ReLU, or a BatchNorm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from export_nets import assert_close, captured_graph, operators, perturbed, run_onnx
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.export.lowering import lower
from dynsurgeon.export.passes.fold_batch_norm import fold_batch_norm
from dynsurgeon.export.passes.merge_scales import merge_scales
from dynsurgeon.export.passes.split_norm import split_norm
from dynsurgeon.graphs.native.guard import block_width


class Block(nn.Module):
    """A stem, then a convolution, a BatchNorm and a ReLU, with a path around them if asked for."""

    def __init__(self, norm: bool = True, around: bool = False, spatial: int = 2) -> None:
        super().__init__()
        conv: Any = {1: nn.Conv1d, 2: nn.Conv2d}[spatial]
        batch_norm: Any = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[spatial]
        self.stem = conv(3, 8, 1)
        self.conv = conv(8, 8, 3, padding=1, bias=not norm)
        self.norm = batch_norm(8) if norm else nn.Identity()
        self.relu, self.around = nn.ReLU(), around

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        y = self.norm(self.conv(x))
        return self.relu(y + x if self.around else y)


class LookedAt(Block):
    """What comes before the activation is returned too."""

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.conv(self.stem(x)))
        return self.relu(y), y


def lowered(
    block: Block,
    conv: Any,
    activation: Any,
    folder: Path,
    *,
    form: str = "rule",
    batch: int | None = 3,
    spatial: int = 2,
) -> tuple[tuple[int, int], ir.Graph]:
    """Check a perturbed network's file against torch.

    Returns:
        How many BatchNorms were split and scales merged, and the graph.
    """
    x = torch.randn(batch or 3, 3, *(6, 5)[:spatial])
    config = ds.SurgeryConfig(conv=conv, activation=activation)
    net = perturbed(ds.convert(block.eval(), x, config))
    captured, target, signature = captured_graph(net, x, form, batch)
    model = lower(captured, target, signature)
    ir.save(model, folder / "m.onnx")
    with torch.no_grad():
        y = net(x)
    assert_close(run_onnx(folder / "m.onnx", x), [y] if isinstance(y, Tensor) else list(y))
    fold_batch_norm(captured.model)
    return (split_norm(captured.model), merge_scales(captured.model)), model.graph


@pytest.mark.parametrize(
    ("conv", "activation", "norm"),
    [
        *(("scale", "B", True), ("scale", "A", False), ("se", "B", True), ("se", "B", False)),
        *(("scale", "shift-max", True), ("se", "shift-max", False)),
    ],
)
def test_lines_take_the_scale(conv: str, activation: str, norm: bool, tmp_path: Path) -> None:
    counts, graph = lowered(Block(norm), conv, activation, tmp_path)
    assert counts == (int(norm), 1)
    assert "BatchNormalization" not in operators(graph)


def test_the_second_channel_has_its_own_scale(tmp_path: Path) -> None:
    """With a shift of no whole group, a gain that is not turned round with its map would show."""
    config = ds.ShiftMaxConfig(groups=3, lambda_b=0.5)
    counts, _ = lowered(Block(), "scale", config, tmp_path, form="plain", batch=1)
    assert counts == (1, 1)


def test_on_one_axis(tmp_path: Path) -> None:
    counts, _ = lowered(Block(spatial=1), "scale", "B", tmp_path, spatial=1)
    assert counts == (1, 1)


@pytest.mark.skipif(block_width() not in (8, 16), reason="no NCHWc on this CPU")
def test_in_the_native_layout(tmp_path: Path) -> None:
    counts, graph = lowered(Block(), "scale", "B", tmp_path, form="native", batch=1)
    assert counts == (1, 1)
    assert "Max" not in operators(graph)


@pytest.mark.parametrize(("conv", "activation"), [("scale", None), ("se", "B"), ("dcd", None)])
def test_a_norm_is_split_where_no_lines_take_it(
    conv: str, activation: str | None, tmp_path: Path
) -> None:
    around = activation == "B"
    counts, graph = lowered(Block(around=around), conv, activation, tmp_path)
    assert counts == (1, 0)
    assert "BatchNormalization" not in operators(graph)


def test_what_is_looked_at_elsewhere_stays(tmp_path: Path) -> None:
    counts, _ = lowered(LookedAt(), "scale", "B", tmp_path)
    assert counts == (1, 0)


def test_a_free_batch(tmp_path: Path) -> None:
    counts, _ = lowered(Block(), "scale", "B", tmp_path, form="portable", batch=None)
    assert counts == (1, 1)
