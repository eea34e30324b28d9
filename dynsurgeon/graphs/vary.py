"""Other weights for a graph, far from a start at which many of them are equal or zero."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dynsurgeon.graphs.initializers import Array, array_of, is_constant

SHARE = 0.1
"""What is added to a weight, as a share of the deviation of the numbers beside it."""

OPERATORS = ("Gemm", "MatMul")
"""What mixes the kernels of a bank, and what heads are made of."""


def vary_weights(graph: ir.Graph, generator: np.random.Generator, strength: float = 1.0) -> int:
    """Change every constant that is multiplied with something, and return how many.

    Kernels of a bank then differ, and heads say something. Attention is a softmax and a DY-ReLU's
    reach is bounded, so that no number grows far.

    Args:
        graph: The graph, changed in place.
        generator: Source of the changes.
        strength: Factor on every change.
    """
    values = {
        value: None
        for node in graph
        if node.op_type in OPERATORS
        for value in node.inputs[:2]
        if value is not None and is_constant(value) and value.dtype == ir.DataType.FLOAT
    }
    for value in values:
        varied = _varied(array_of(value), generator, strength)
        value.const_value = ir.Tensor(varied, name=value.name)
    return len(values)


def _varied(array: Array, generator: np.random.Generator, strength: float) -> Array:
    deviation = float(array.std())
    scale = SHARE * deviation if deviation > 0 else 1 / max(1.0, float(np.sqrt(array[0].size)))
    noise = generator.standard_normal(array.shape, np.float32)
    varied: Array = array + np.float32(strength * scale) * noise
    return varied
