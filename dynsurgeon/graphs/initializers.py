"""Initialisers of an ONNX graph as arrays and back; whatever library holds them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Array = NDArray[Any]

EXTERNAL_DATA_LIMIT = 2**31 - 2**24
"""Bytes of weights above which they get a file of their own: protobuf ends at 2 GiB in all."""


def array_of(value: ir.Value) -> Array:
    """Return an initialiser's values; don't write into them."""
    constant = value.const_value
    assert constant is not None, f"{value.name} is no constant"
    return constant.numpy()


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is an initialiser that nothing can change at run time."""
    return (
        value is not None
        and value.is_initializer()
        and value.const_value is not None
        and not value.is_graph_input()
    )


def new_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Add an initialiser to a graph; its name must be free."""
    constant = ir.Tensor(np.asarray(array, order="C"), name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), const_value=constant)
    value.dtype = constant.dtype
    graph.register_initializer(value)
    return value


def weight_bytes(model: ir.Model) -> int:
    """Return the bytes of all initialisers."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )
