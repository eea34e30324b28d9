"""Turn channels round without leaving the blocks, where they turn by whole blocks."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dynsurgeon.graphs.initializers import array_of, is_constant
from dynsurgeon.graphs.native.optimise import NCHWC


def drop_roll_reorders(graph: ir.Graph, block: int) -> int:
    """Drop the reordering around every such turn, and return how many there were.

    In blocks, a run of `block` channels' maps is one block of as many numbers; so the channels'
    numbers name the same runs in both layouts.
    """
    dropped = 0
    for node in [node for node in graph if _rolls_blocks(node, block)]:
        reorder = node.inputs[0].producer() if node.inputs[0] is not None else None
        if reorder is None or not _in_blocks(reorder, "ReorderOutput"):
            continue
        back = [use.node for use in node.outputs[0].uses()]
        if not back or not all(_in_blocks(user, "ReorderInput") for user in back):
            continue
        node.replace_input_with(0, reorder.inputs[0])
        for user in back:
            user.outputs[0].replace_all_uses_with(node.outputs[0])
            graph.remove(user, safe=True)
        dropped += 1
    return dropped


def _in_blocks(node: ir.Node, operator: str) -> bool:
    return node.domain == NCHWC and node.op_type == operator


def _rolls_blocks(node: ir.Node, block: int) -> bool:
    """Whether a node turns the channels round by a number of whole blocks."""
    if node.op_type != "Gather" or node.domain or node.attributes.get_int("axis", 0) != 1:
        return False
    index = node.inputs[1]
    if index is None or not is_constant(index):
        return False
    order = array_of(index)
    if order.ndim != 1 or len(order) % block or int(order[0]) % block:
        return False
    return np.array_equal(order, np.roll(np.arange(len(order)), -int(order[0])))
