"""K constant convolutions and their weighted sum as one convolution with a computed kernel.

    sum_k pi_k Conv(x, W_k, b_k) = Conv(x, sum_k pi_k W_k, sum_k pi_k b_k)

Files of standard operators hold depthwise layers as the former where it is quicker there; in blocks
of channels the latter is. Weights of a softmax sum to 1: then one bias for all kernels stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from dynsurgeon.graphs.initializers import array_of, is_constant, new_initializer
from dynsurgeon.graphs.tiles import to_tiles


def experts_to_convolutions(graph: ir.Graph) -> int:
    """Rewrite every such sum, and return how many.

    Args:
        graph: A named graph of one sample, changed in place.
    """
    found = 0
    for node in [node for node in graph if node.op_type == "Sum"]:
        convolutions = _experts(node)
        pi = None if convolutions is None else _attention(node)
        if convolutions is not None and pi is not None:
            _replace(graph, node, convolutions, pi)
            found += 1
    return found


def _experts(node: ir.Node) -> list[ir.Node] | None:
    """Return the convolutions of one map with constant kernels that a sum adds, or None."""
    products = [None if value is None else value.producer() for value in node.inputs]
    if any(product is None or product.op_type != "Mul" for product in products):
        return None
    found = [p.inputs[0].producer() for p in products if p is not None and p.inputs[0] is not None]
    convolutions = [conv for conv in found if conv is not None and conv.op_type == "Conv"]
    if len(convolutions) != len(node.inputs):
        return None
    one = convolutions[0]
    alike = all(conv.inputs[0] is one.inputs[0] for conv in convolutions)
    alike = alike and all(len(conv.inputs) == len(one.inputs) for conv in convolutions)
    constant = all(is_constant(value) for conv in convolutions for value in conv.inputs[1:])
    return convolutions if alike and constant else None


def _attention(node: ir.Node) -> ir.Value | None:
    """Return the attention whose numbers, in order, are what the products multiply by."""
    shares = [value.producer().inputs[1] for value in node.inputs]  # type: ignore[union-attr]
    split = None if shares[0] is None else shares[0].producer()
    if split is None or split.op_type != "Split" or list(split.outputs) != shares:
        return None
    reshape = None if split.inputs[0] is None else split.inputs[0].producer()
    return reshape.inputs[0] if reshape is not None and reshape.op_type == "Reshape" else None


def _replace(graph: ir.Graph, node: ir.Node, experts: list[ir.Node], pi: ir.Value) -> None:
    kernels = [array_of(conv.inputs[1]) for conv in experts if conv.inputs[1] is not None]
    inputs = [experts[0].inputs[0], _mixed(graph, node, pi, np.stack(kernels), "kernel")]
    if len(experts[0].inputs) > 2:
        biases = [conv.inputs[2] for conv in experts if conv.inputs[2] is not None]
        maker = pi.producer()
        ones = maker is not None and maker.op_type == "Softmax"
        same = ones and all(bias is biases[0] for bias in biases)
        rows = np.stack([array_of(bias) for bias in biases])
        inputs.append(biases[0] if same else _mixed(graph, node, pi, rows, "bias"))
    y = _op(graph, node, "Conv", inputs, "mixed", dict(experts[0].attributes))
    old = node.outputs[0]
    y.shape, y.type = old.shape, old.type
    ir.convenience.replace_all_uses_with(old, y, replace_graph_outputs=True)
    name = old.name
    products = [value.producer() for value in node.inputs if value is not None]
    graph.remove(node, safe=True)
    graph.remove([product for product in products if product is not None], safe=True)
    graph.remove(experts, safe=True)
    y.name = name


def _mixed(
    graph: ir.Graph, node: ir.Node, pi: ir.Value, bank: np.ndarray[Any, Any], part: str
) -> ir.Value:
    """Write the mixture of a bank ``(K, *shape)``."""
    tiles = new_initializer(graph, f"{node.name}/{part}s", to_tiles(bank))
    product = _op(graph, node, "MatMul", [pi, tiles], part)
    shape = new_initializer(graph, f"{node.name}/{part}/shape", np.array(bank.shape[1:]))
    mixed = _op(graph, node, "Reshape", [product, shape], part)
    mixed.shape, mixed.type = ir.Shape(bank.shape[1:]), node.outputs[0].type
    return mixed


def _op(
    graph: ir.Graph,
    before: ir.Node,
    operator: str,
    inputs: list[ir.Value | None],
    part: str,
    attributes: dict[str, Any] | None = None,
) -> ir.Value:
    name = f"{before.name}/{part}/{operator}"
    node = ir.node(operator, inputs, attributes or {}, name=name)
    node.outputs[0].name, node.outputs[0].type = f"{name}_output", before.outputs[0].type
    graph.insert_before(before, node)
    return node.outputs[0]
