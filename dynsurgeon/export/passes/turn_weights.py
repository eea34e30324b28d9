"""Store a weight the way round that it is used, instead of transposing it in every run."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import onnx_ir as ir
import torch

from dynsurgeon.export.tensors import derived_initializer


def turn_weights(model: ir.Model, weights: Collection[str]) -> int:
    """Replace every transposition of a weight by the transposed weight, and return how many.

    Args:
        model: A flat model, changed in place.
        weights: Names of the initialisers that are weights.
    """
    nodes = [node for node in model.graph if _turns_weight(node, weights)]
    for node in nodes:
        source = node.inputs[0]
        assert source is not None
        perm = list(node.attributes["perm"].as_ints())
        how = "turned" + "".join(map(str, perm))
        turned = derived_initializer(model.graph, source, how, partial(torch.permute, dims=perm))
        node.outputs[0].replace_all_uses_with(turned)
        model.graph.remove(node, safe=True)
    return len(nodes)


def _turns_weight(node: ir.Node, weights: Collection[str]) -> bool:
    if node.op_type != "Transpose" or node.outputs[0].is_graph_output():
        return False
    source = node.inputs[0]
    return source is not None and source.name in weights and "perm" in node.attributes
