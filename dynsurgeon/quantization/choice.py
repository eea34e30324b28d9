"""Which nodes of an exported file can compute in 8 bits.

Convolutions with constant kernels and linear layers can, and what stands between them and only
passes numbers on. What belongs to a dynamic layer, other than its convolution, stays in single
precision: attentions and the lines of a DY-ReLU are small, and everything after them depends on
them. A convolution whose kernel is computed can't be quantised at all.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import GraphProto, NodeProto

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that need a constant as their second input."""

BETWEEN = ("Add", "Relu", "Clip", "MaxPool", "GlobalAveragePool", "AveragePool")
"""Operators that carry numbers of 8 bits on to the next one."""


def quantizable(graph: GraphProto, layers: Collection[str]) -> list[str]:
    """Return the names of the nodes to quantise.

    Args:
        graph: A graph without a Scan: onnxruntime's quantiser doesn't look into one.
        layers: Paths of the dynamic layers.
    """
    constants = {tensor.name for tensor in graph.initializer}
    return [node.name for node in graph.node if _fits(node, constants, layers)]


def _fits(node: NodeProto, constants: Collection[str], layers: Collection[str]) -> bool:
    layer = _layer_of(node, layers)
    if node.op_type in WEIGHTED:
        constant = len(node.input) > 1 and node.input[1] in constants
        return constant and (layer is None or _is_its_convolution(node, layer))
    return node.op_type in BETWEEN and layer is None


def _layer_of(node: NodeProto, layers: Collection[str]) -> str | None:
    """Return the dynamic layer that a node belongs to, or None."""
    path = node.name.rpartition("/")[0]
    return next((name for name in layers if path == name or path.startswith(f"{name}.")), None)


def _is_its_convolution(node: NodeProto, layer: str) -> bool:
    return node.op_type.startswith("Conv") and node.name.rpartition("/")[0] == layer
