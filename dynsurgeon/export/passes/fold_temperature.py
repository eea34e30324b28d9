"""Fold an attention's temperature into its last layer.

    softmax((h W^T + b) / tau) = softmax(h (W / tau)^T + b / tau)

Only where the Gemm and its weights serve this attention alone: a convolution that is called at many
places keeps its division.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from dynsurgeon.export.forms.site import ConvSite, is_dynamic_conv
from dynsurgeon.export.tensors import set_tensor, tensor_of
from dynsurgeon.graphs.initializers import is_constant


def fold_temperature(model: ir.Model) -> int:
    """Fold every temperature that can be, and return how many."""
    graph = model.graph
    sites = [ConvSite.of(node) for node in graph if is_dynamic_conv(node)]
    return sum(_fold(graph, site.pi.producer()) for site in sites)


def _fold(graph: ir.Graph, softmax: ir.Node | None) -> bool:
    division = _producer(softmax, "Div")
    gemm = _producer(division, "Gemm")
    if division is None or gemm is None or not is_constant(division.inputs[1]):
        return False
    weights = gemm.inputs[1:]
    alone = all(is_constant(value) and len(value.uses()) == 1 for value in weights if value)
    if not alone or len(gemm.outputs[0].uses()) != 1:
        return False
    _divide(division, gemm, weights)
    division.outputs[0].replace_all_uses_with(gemm.outputs[0])
    graph.remove(division, safe=True)
    return True


def _divide(division: ir.Node, gemm: ir.Node, weights: Sequence[ir.Value | None]) -> None:
    temperature = division.inputs[1]
    assert temperature is not None
    tau = tensor_of(temperature).double()
    for value in weights:
        if value is not None:
            tensor = tensor_of(value)
            set_tensor(value, (tensor.double() / tau).to(tensor.dtype))


def _producer(node: ir.Node | None, operator: str) -> ir.Node | None:
    """Return the node before `node` on its first input, if it is of that kind."""
    value = node.inputs[0] if node is not None and node.inputs else None
    before = None if value is None else value.producer()
    return before if before is not None and before.op_type == operator else None
