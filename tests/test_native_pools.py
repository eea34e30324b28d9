"""Reorders of a pooled map go where they change nothing: its channels fill whole blocks."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from dynsurgeon.graphs.native.optimise import NCHWC
from dynsurgeon.graphs.native.pools import drop_pool_reorders


def pooled(channels: int, *, pool: str = "GlobalAveragePool", last: int = 0) -> ir.Graph:
    """A pool in blocks, written out in rows, and a ReLU of it."""
    x = ir.Value(name="x", shape=ir.Shape([1, channels, 4, 4]))
    average = ir.node(pool, [x], domain=NCHWC)
    attributes = {"channels": channels, "channels_last": last}
    order = ir.node("ReorderOutput", average.outputs, attributes, domain=NCHWC)
    relu = ir.node("Relu", order.outputs)
    return ir.Graph([x], relu.outputs, nodes=[average, order, relu])


def operators(graph: ir.Graph) -> list[str]:
    return [node.op_type for node in graph]


@pytest.mark.parametrize(
    ("channels", "block", "dropped"),
    [(32, 16, 1), (32, 8, 1), (24, 8, 1), (24, 16, 0), (6, 8, 0), (6, 16, 0)],
)
def test_whole_blocks_need_no_reorder(channels: int, block: int, dropped: int) -> None:
    graph = pooled(channels)
    assert drop_pool_reorders(graph, block) == dropped
    order = [] if dropped else ["ReorderOutput"]
    assert operators(graph) == ["GlobalAveragePool", *order, "Relu"]


def test_other_pools_and_other_orders_stay() -> None:
    for graph in (pooled(16, pool="AveragePool"), pooled(16, last=1)):
        assert drop_pool_reorders(graph, 16) == 0
        assert "ReorderOutput" in operators(graph)
