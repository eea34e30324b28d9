"""Take the graph of one sample out of the Scan that `scan_batch` put around it."""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.graphs.scan_batch import AXIS


def unscan(model: ir.Model) -> str | int | None:
    """Undo `scan_batch`, and return the batch that it was for; None if there is no such Scan.

    Args:
        model: The model, changed in place: its inputs and outputs are one sample ``(1, …)`` then.
    """
    outer = model.graph
    scan = _batch_scan(outer)
    if scan is None:
        return None
    batch, body = _first_axis(outer.inputs[0]), scan.attributes["body"].as_graph()
    inputs = [_entered(value, body.inputs[i]) for i, value in enumerate(outer.inputs)]
    results = [value.producer() for value in body.outputs]
    names = [(value.name, value.type) for value in outer.outputs]
    weights = [*outer.initializers.values(), *body.initializers.values()]
    nodes = [*_emptied(outer, scan), *_emptied(body)]
    outputs = [_left(node, names[i], nodes) for i, node in enumerate(results)]
    model.graph = ir.Graph(
        inputs,
        outputs,
        nodes=nodes,
        initializers=[value for value in weights if value.name != AXIS],
        opset_imports=outer.opset_imports,
        name=outer.name,
    )
    return batch


def _batch_scan(graph: ir.Graph) -> ir.Node | None:
    """Return the Scan if it is the whole graph, but for what turns stored banks back."""
    scans = [node for node in graph if node.op_type == "Scan"]
    if len(scans) != 1 or AXIS not in scans[0].attributes["body"].as_graph().initializers:
        return None
    (scan,) = scans
    whole = list(scan.inputs) == list(graph.inputs) and list(scan.outputs) == list(graph.outputs)
    return scan if whole else None


def _first_axis(value: ir.Value) -> str | int:
    assert value.shape is not None
    first = value.shape[0]
    return first if isinstance(first, int) else str(first.value)


def _entered(value: ir.Value, sample: ir.Value) -> ir.Value:
    """Let a sample of an input, with its batch axis, take the place of what Unsqueeze made."""
    (use,) = sample.uses()
    made = use.node.outputs[0]
    assert sample.shape is not None
    shape = ir.Shape([1, *sample.shape])
    entered = ir.Value(name=value.name, type=value.type, shape=shape)
    made.replace_all_uses_with(entered)
    graph = use.node.graph
    assert graph is not None
    graph.remove(use.node, safe=True)
    return entered


def _emptied(graph: ir.Graph, *but: ir.Node) -> list[ir.Node]:
    """Take the nodes and initialisers out of a graph, so that another can own them."""
    graph.outputs.clear()
    graph.inputs.clear()
    graph.initializers.clear()
    nodes = list(graph)
    graph.remove(nodes)
    return [node for node in nodes if node not in but]


def _left(
    squeeze: ir.Node | None, named: tuple[str | None, ir.TypeProtocol | None], nodes: list[ir.Node]
) -> ir.Value:
    """Return the output that a Squeeze took the batch axis from, which leaves `nodes`.

    A copy of it is returned, since it may be an input, or two outputs at once.
    """
    assert squeeze is not None
    result, source = squeeze.outputs[0], squeeze.inputs[0]
    assert source is not None
    assert result.shape is not None
    nodes.remove(squeeze)
    squeeze.replace_input_with(0, None)
    copy = ir.node("Identity", [source], name=f"{named[0]}/Identity")
    nodes.append(copy)
    output = copy.outputs[0]
    output.name, output.type = named
    output.shape = ir.Shape([1, *result.shape])
    return output
