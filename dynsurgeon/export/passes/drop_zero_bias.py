"""Drop the zero biases that torch's exporter writes where a convolution has none."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

OPERATORS = ("Conv", "ConvTranspose")


def drop_zero_bias(model: ir.Model, weights: Collection[str]) -> int:
    """Drop every bias that is zero and no weight of the network, and return how many.

    Args:
        model: A flat model, changed in place; its constants are folded.
        weights: Names of the initialisers that are weights.
    """
    nodes = [node for node in model.graph if node.op_type in OPERATORS and len(node.inputs) == 3]
    dropped = [node for node in nodes if _is_zero(node.inputs[2], weights)]
    for node in dropped:
        node.resize_inputs(2)
    return len(dropped)


def _is_zero(bias: ir.Value | None, weights: Collection[str]) -> bool:
    if bias is None or bias.name in weights:
        return False
    constant = ir.convenience.get_const_tensor(bias)
    return constant is not None and not constant.numpy().any()
