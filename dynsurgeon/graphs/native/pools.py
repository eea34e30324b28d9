"""Drop the reordering of a pooled map, which is in order already.

A map of one place, in whole blocks, is the same row of numbers in blocks and out of them.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.graphs.native.optimise import NCHWC


def drop_pool_reorders(graph: ir.Graph, block: int) -> int:
    """Drop every such ReorderOutput, and return how many."""
    dropped = [node for node in graph if _is_needless(node, block)]
    for node in dropped:
        pooled = node.inputs[0]
        assert pooled is not None
        node.outputs[0].replace_all_uses_with(pooled)
        graph.remove(node, safe=True)
    return len(dropped)


def _is_needless(node: ir.Node, block: int) -> bool:
    if node.domain != NCHWC or node.op_type != "ReorderOutput" or node.inputs[0] is None:
        return False
    pool = node.inputs[0].producer()
    pooled = pool is not None and pool.domain == NCHWC and pool.op_type == "GlobalAveragePool"
    whole = node.attributes.get_int("channels", 1) % block == 0
    last = node.attributes.get_int("channels_last", 0)
    return pooled and whole and not last and not node.outputs[0].is_graph_output()
