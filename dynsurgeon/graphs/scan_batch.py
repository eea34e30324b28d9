"""Run a graph of one sample over a batch: one Scan around the whole of it.

Weights of matrix products, the banks above all, stay in the outer graph: the inner one sees them
from there, and onnxruntime would hold them twice inside. All other constants go inside, because
onnxruntime gives a convolution its fast layout (NCHWc) only where the weights lie beside it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from dynsurgeon.graphs.initializers import new_initializer

AXIS = "batch_axis"
PRODUCTS = ("MatMul", "Gemm")


def scan_batch(model: ir.Model, batch: str | int) -> None:
    """Wrap the graph, whose inputs and outputs are one sample ``(1, …)`` each, in a Scan.

    Args:
        model: The model, changed in place.
        batch: The new first axis of every input and output: a size, or the name of a free one.
    """
    inner = model.graph
    axis = new_initializer(inner, AXIS, np.array([0]))
    inputs = [_batched(value, batch) for value in inner.inputs]
    outputs = [_batched(value, batch) for value in inner.outputs]
    head, samples = _unsqueezed(inner, axis)
    tail, results = _squeezed(inner, axis)
    nodes, weights = _emptied(inner)
    outside = [value for value in weights if _is_outside(value)]
    inside = [value for value in weights if not _is_outside(value)]
    nodes = [*head, *nodes, *tail]
    body = ir.Graph(samples, results, nodes=nodes, initializers=inside, name="sample")
    attributes = [ir.AttrGraph("body", body), ir.AttrInt64("num_scan_inputs", len(samples))]
    scan = ir.Node("", "Scan", inputs, attributes, outputs=outputs, name="batch/Scan")
    model.graph = ir.Graph(
        inputs,
        outputs,
        nodes=[scan],
        initializers=outside,
        opset_imports=inner.opset_imports,
        name=inner.name,
    )


def _is_outside(value: ir.Value) -> bool:
    return all(use.node.op_type in PRODUCTS for use in value.uses())


def _batched(value: ir.Value, batch: str | int) -> ir.Value:
    assert value.shape is not None
    shape = ir.Shape([batch, *value.shape[1:]])
    return ir.Value(name=value.name, type=value.type, shape=shape)


def _without_batch(value: ir.Value) -> ir.Shape:
    assert value.shape is not None
    return ir.Shape(value.shape[1:])


def _unsqueezed(graph: ir.Graph, axis: ir.Value) -> tuple[list[ir.Node], list[ir.Value]]:
    nodes, samples = [], []
    for value in graph.inputs:
        name = f"sample/{value.name}"
        sample = ir.Value(name=name, type=value.type, shape=_without_batch(value))
        node = ir.Node("", "Unsqueeze", [sample, axis], name=f"{name}/Unsqueeze")
        output = node.outputs[0]
        output.name, output.type = f"{name}/Unsqueeze_output", value.type
        output.shape = value.shape
        value.replace_all_uses_with(output, replace_graph_outputs=True)
        nodes.append(node)
        samples.append(sample)
    return nodes, samples


def _squeezed(graph: ir.Graph, axis: ir.Value) -> tuple[list[ir.Node], list[ir.Value]]:
    nodes, results = [], []
    for i, value in enumerate(graph.outputs):
        name = f"sample/{value.name}" if value.is_graph_output() else f"sample/output_{i}"
        node = ir.Node("", "Squeeze", [value, axis], name=f"{name}/Squeeze")
        output = node.outputs[0]
        output.name, output.type, output.shape = name, value.type, _without_batch(value)
        nodes.append(node)
        results.append(output)
    return nodes, results


def _emptied(graph: ir.Graph) -> tuple[list[ir.Node], list[ir.Value]]:
    """Take the nodes and initialisers out of a graph, so that others can own them."""
    nodes, weights = list(graph), list(graph.initializers.values())
    for value in graph.outputs:
        value.name = f"sample/{value.name}/batched"  # its name is the outer output's now
    graph.inputs.clear()
    graph.outputs.clear()
    graph.initializers.clear()
    graph.remove(nodes)
    return nodes, weights
