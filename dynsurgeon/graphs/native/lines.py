"""Two computed lines as two depthwise convolutions, which stay in blocks of channels.

    max(a_1 x + b_1, a_2 x + b_2) = relu((a_1 - a_2) x + (b_1 - b_2)) + (a_2 x + b_2)

That is a DY-ReLU as files of standard operators hold it. `export` writes the convolutions itself
(`lines/pointwise.py`); this finds the lines in a file that is there, wherever they come from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from dynsurgeon.graphs.initializers import array_of, is_constant, new_initializer

ALIGNMENT = 4
"""onnxruntime reorders maps of a multiple of so many channels alone."""


class Line(NamedTuple):
    """``slope * x + offset``, the two being a number a channel: ``(1, C, 1, 1)`` or ``(C,)``."""

    x: ir.Value
    slope: ir.Value
    offset: ir.Value


def lines_to_convolutions(graph: ir.Graph) -> int:
    """Rewrite every maximum of two lines of one map, and return how many.

    Args:
        graph: A named graph of one sample, changed in place.
    """
    found = 0
    for node in [node for node in graph if node.op_type == "Max" and len(node.inputs) == 2]:
        upper, lower = (_line(value) for value in node.inputs)
        if upper is not None and lower is not None and upper.x is lower.x:
            _Writer(graph, node, upper.x).replace(upper, lower)
            found += 1
    return found


def _line(value: ir.Value | None) -> Line | None:
    add, norm = _made_by(value, "Add"), _made_by(value, "BatchNormalization")
    if norm is not None:
        return _normalised(norm)
    if add is None:
        return None
    for product, offset in (add.inputs, add.inputs[::-1]):
        mul = _made_by(product, "Mul")
        if mul is None or not _is_row(offset):
            continue
        for x, slope in (mul.inputs, mul.inputs[::-1]):
            if x is not None and slope is not None and offset is not None and _fit(x, slope):
                return Line(x, slope, offset)
    return None


def _normalised(node: ir.Node) -> Line | None:
    """Return the line of a BatchNormalization by mean 0 and variance 1, whose scale is computed."""
    x, slope, offset, mean, variance = node.inputs
    if x is None or slope is None or offset is None or is_constant(slope) or is_constant(offset):
        return None
    neutral = node.attributes.get_float("epsilon", 1e-5) == 0
    neutral = neutral and _is_all(mean, 0) and _is_all(variance, 1)
    return Line(x, slope, offset) if neutral and _is_map(x) else None


def _is_all(value: ir.Value | None, number: float) -> bool:
    return value is not None and is_constant(value) and bool((array_of(value) == number).all())


def _is_map(x: ir.Value) -> bool:
    """Whether a value is the map of one sample, of channels that can be laid out."""
    if x.shape is None or len(x.shape) != 4 or x.shape[0] != 1:
        return False
    channels = x.shape[1]
    return isinstance(channels, int) and channels % ALIGNMENT == 0


def _made_by(value: ir.Value | None, operator: str) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == operator else None


def _is_row(value: ir.Value | None) -> bool:
    """Whether a value is computed, and holds one number for each channel of one sample."""
    if value is None or value.shape is None or len(value.shape) != 4 or is_constant(value):
        return False
    first, channels, *rest = value.shape
    return first == 1 and isinstance(channels, int) and rest == [1, 1]


def _fit(x: ir.Value, slope: ir.Value) -> bool:
    if not _is_map(x) or _is_row(x) or not _is_row(slope):
        return False
    assert x.shape is not None
    assert slope.shape is not None
    return x.shape[1] == slope.shape[1]


class _Writer:
    """Writes the convolutions that take the place of a Max."""

    def __init__(self, graph: ir.Graph, node: ir.Node, x: ir.Value) -> None:
        self.graph, self.node, self.x = graph, node, x
        assert x.shape is not None
        assert isinstance(x.shape[1], int)
        self.channels = x.shape[1]

    def replace(self, upper: Line, lower: Line) -> None:
        """Put the convolutions in place of the node."""
        steep = self._op("Sub", "steep", upper.slope, lower.slope)
        step = self._op("Sub", "step", upper.offset, lower.offset)
        above = self._op("Relu", "above", self._convolved("above", steep, step))
        line = self._convolved("line", lower.slope, lower.offset)
        total, old = self._op("Add", "sum", line, above), self.node.outputs[0]
        total.shape = old.shape
        ir.convenience.replace_all_uses_with(old, total, replace_graph_outputs=True)
        name = old.name
        self.graph.remove(self.node, safe=True)
        total.name = name

    def _convolved(self, part: str, slope: ir.Value, offset: ir.Value) -> ir.Value:
        kernel = self._reshaped(f"{part}/kernel", slope, self.channels, 1, 1, 1)
        bias = self._reshaped(f"{part}/bias", offset, self.channels)
        geometry: dict[str, Any] = {"group": self.channels, "kernel_shape": [1, 1]}
        return self._op("Conv", part, self.x, kernel, bias, **geometry)

    def _reshaped(self, part: str, value: ir.Value, *sizes: int) -> ir.Value:
        shape = new_initializer(self.graph, f"{self.node.name}/{part}/shape", np.array(sizes))
        found = self._op("Reshape", part, value, shape)
        found.shape = ir.Shape(sizes)
        return found

    def _op(self, operator: str, part: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        node = ir.node(operator, inputs, attributes, name=f"{self.node.name}/{part}/{operator}")
        node.outputs[0].name, node.outputs[0].type = f"{node.name}_output", self.x.type
        self.graph.insert_before(self.node, node)
        return node.outputs[0]
