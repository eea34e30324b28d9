"""Compute, once for all, the banks that a file stores in 8 or 16 bits.

Their nodes are those that `export` writes: ``Reshape(Cast(stored) * scales)``, or the Cast alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from dynsurgeon.graphs.initializers import Array, array_of, is_constant, new_initializer

Inputs = Sequence[Array]


def _cast(node: ir.Node, inputs: Inputs) -> Array:
    return inputs[0].astype(ir.DataType(node.attributes["to"].as_int()).numpy())


def _times(node: ir.Node, inputs: Inputs) -> Array:
    return np.multiply(*inputs)


def _reshaped(node: ir.Node, inputs: Inputs) -> Array:
    return inputs[0].reshape([int(size) for size in inputs[1]])


OPERATORS: Mapping[str, Callable[[ir.Node, Inputs], Array]] = {
    "Cast": _cast,
    "Mul": _times,
    "Reshape": _reshaped,
}


def unpack_banks(graph: ir.Graph) -> int:
    """Compute what depends on stored numbers alone, and return how many nodes were computed.

    Args:
        graph: The graph, changed in place.
    """
    found = 0
    for node in list(graph):
        if node.op_type not in OPERATORS or not all(map(is_constant, node.inputs)):
            continue
        inputs = [array_of(value) for value in node.inputs if value is not None]
        array = OPERATORS[node.op_type](node, inputs)
        old = node.outputs[0]
        name = str(old.name)
        old.name = f"{name}/computed"
        old.replace_all_uses_with(new_initializer(graph, name, array), replace_graph_outputs=True)
        graph.remove(node, safe=True)
        found += 1
    return found
