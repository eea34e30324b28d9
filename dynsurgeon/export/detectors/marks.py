"""Put our nodes where TorchScript traced what a static network does."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from dynsurgeon.export.node import DOMAIN, VERSION, Mark


def place_nodes(traced: ir.Model, marks: Sequence[Mark]) -> None:
    """Put a node in each marked place.

    Args:
        traced: The graph, changed in place; its last outputs are the tensors of the marks.
        marks: The places, in the order of those outputs.
    """
    graph = traced.graph
    count = sum(len(mark.tensors) for mark in marks)
    if not count:
        return
    start = len(graph.outputs) - count
    place = start
    for mark in marks:  # each may read what the one before it has put in place
        ends = graph.outputs[place : place + len(mark.tensors)]
        place += len(mark.tensors)
        y, *inputs = [_behind_identities(value) for value in ends]
        _place(graph, mark, y, inputs)
    del graph.outputs[start:]
    graph.opset_imports[DOMAIN] = VERSION


def _place(graph: ir.Graph, mark: Mark, y: ir.Value, inputs: Sequence[ir.Value]) -> None:
    before = y.producer()
    assert before is not None, "what a static layer computes comes from a node"
    attributes = [_attribute(name, value) for name, value in mark.attributes.items()]
    node = ir.Node(DOMAIN, mark.operator, inputs, attributes, name=before.name)
    output = node.outputs[0]
    output.name = f"{y.name}/{mark.operator}"
    output.type, output.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(free_rows(mark.shape))
    ir.convenience.replace_all_uses_with(y, output, replace_graph_outputs=True)
    graph.insert_after(before, node)
    x, head = inputs[:2]
    x.type = head.type = output.type
    # Of what the head says it is the rows that count: one, or as many as there are proposed boxes.
    head.shape = ir.Shape([free_rows(mark.shape)[0], None])


def free_rows(shape: Sequence[int]) -> list[int | None]:
    """Return the shape that a value has with any image of a size.

    Every axis is fixed, but for the first one of what is computed for each proposed box: their
    number is the image's.
    """
    return [1 if shape[0] == 1 else None, *shape[1:]]


def _attribute(name: str, value: object) -> ir.Attr:
    if isinstance(value, list):
        floats = any(isinstance(each, float) for each in value)
        return ir.AttrFloat32s(name, value) if floats else ir.AttrInt64s(name, value)
    assert isinstance(value, int)
    return ir.AttrInt64(name, value)


def _behind_identities(value: ir.Value) -> ir.Value:
    node = value.producer()
    while node is not None and node.op_type == "Identity" and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
    return value
