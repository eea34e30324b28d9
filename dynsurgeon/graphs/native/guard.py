"""A check inside the file: on a CPU with blocks of another width it refuses to run.

Kernels laid out for blocks of 16 channels would be misread in blocks of 8, without a word. So the
graph begins by reordering a constant whose order tells the width, and by looking up an index that
exists only if the width is right. Elsewhere that fails, and onnxruntime's error names the node. (32
numbers: it costs some microseconds.)
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir

from dynsurgeon.form_names import OTHER_CPU
from dynsurgeon.graphs.initializers import Array, new_initializer
from dynsurgeon.graphs.native.optimise import NCHWC, open_session

CHANNELS, COLUMNS = 16, 2
"""Shape of the pattern: a block of 8 or 16 channels at two places."""


@cache
def block_width() -> int:
    """Return how many channels onnxruntime puts side by side on this CPU."""
    numbers = np.arange(CHANNELS * COLUMNS, dtype=np.float32)
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 18, NCHWC: 1}, name="pattern")
    flat = _reordered(graph, numbers.reshape(1, CHANNELS, 1, COLUMNS))
    flat.name, flat.shape = "order", ir.Shape([len(numbers)])
    flat.type = ir.TensorType(ir.DataType.FLOAT)
    graph.outputs.append(flat)
    model = ir.to_proto(ir.Model(graph, ir_version=10)).SerializeToString()
    order = open_session(model).run(None, {})[0].tolist()
    return int(order.index(1.0))  # the first channel's second column comes after one block


def insert_guard(graph: ir.Graph, width: int) -> None:
    """Make a graph refuse CPUs whose blocks have another width than `width` channels."""
    pattern = np.ones((CHANNELS, COLUMNS), np.float32)
    place = np.array(8)  # in blocks of 16 that is channel 8, in blocks of 8 the second column
    pattern[(8, 0) if width == CHANNELS else (0, 1)] = 0
    flat = _reordered(graph, pattern.reshape(1, CHANNELS, 1, COLUMNS))
    number = _op(graph, "Gather", [flat, _constant(graph, "place", place)])
    index = _op(graph, "Cast", [number], to=ir.DataType.INT64.value)
    table = _constant(graph, "table", np.array([0]))
    name = f"{OTHER_CPU} {width} channels; export it again on this one"
    offset = _op(graph, "Gather", [table, index], name=name)
    _add_to_shape_of_input(graph, offset)


def _add_to_shape_of_input(graph: ir.Graph, offset: ir.Value) -> None:
    """Make the first input depend on `offset`, which is 0 if it is anything: 0 keeps an axis."""
    source = graph.inputs[0]
    assert source.shape is not None
    uses = list(source.uses())
    keep = _constant(graph, "keep", np.zeros(len(source.shape), np.int64))
    shape = _op(graph, "Add", [keep, offset])
    checked = _op(graph, "Reshape", [source, shape])
    checked.shape, checked.type = source.shape, source.type
    for use in uses:
        use.node.replace_input_with(use.idx, checked)
    graph.sort()


def _reordered(graph: ir.Graph, pattern: Array) -> ir.Value:
    """Write a pattern in the order of this CPU, as one row."""
    source = _constant(graph, "pattern", pattern)
    blocks = _op(graph, "ReorderInput", [source], domain=NCHWC, channels_last=0)
    return _op(graph, "Reshape", [blocks, _constant(graph, "row", np.array([pattern.size]))])


def _constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    return new_initializer(graph, f"guard/{name}", array)


def _op(
    graph: ir.Graph,
    operator: str,
    inputs: list[ir.Value],
    *,
    name: str | None = None,
    domain: str = "",
    **attributes: int,
) -> ir.Value:
    name = name or f"guard/{operator}_{len(graph)}"
    node = ir.node(operator, inputs, attributes, domain=domain, name=name)
    node.outputs[0].name = f"{name}_output"
    graph.append(node)
    return node.outputs[0]
