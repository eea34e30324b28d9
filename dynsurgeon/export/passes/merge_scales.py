"""Merge a channel scale into the lines of the DY-ReLU behind it: one pass over the map less.

    a (f c + t) + b = (a f) c + (a t + b)              gap(f c + t) = f gap(c) + t

A scale *before* a convolution that follows a DY-ReLU can't merge into that: it is computed from the
average of what the DY-ReLU gives.
"""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines.site import is_lines
from dynsurgeon.export.passes.global_pool import is_global_mean
from dynsurgeon.export.passes.scales import ChannelScale, users_of
from dynsurgeon.export.tensors import constant_tensor


def merge_scales(model: ir.Model) -> int:
    """Merge every channel scale that lines alone look at, and return how many."""
    nodes = [node for node in model.graph if is_lines(node)]
    return sum(_merge(model.graph, node) for node in nodes)


def _merge(graph: ir.Graph, lines: ir.Node) -> bool:
    y = lines.inputs[0]
    assert y is not None
    lift = _lift(y)
    found = ChannelScale.of(y if lift is None else y.producer().inputs[0])  # type: ignore[union-attr]
    if found is None:
        return False
    means = [node for node in users_of(y) if node is not lines]
    inner = [] if lift is None else list(users_of(found.node.outputs[0]))
    if y.is_graph_output() or len(inner) > 1 or not all(map(is_global_mean, means)):
        return False
    for mean in means:
        _average_before(graph, mean, found, lift)
    lines.resize_inputs(6)
    for place, value in ((0, found.scaled), (4, found.factor), (5, lift)):
        lines.replace_input_with(place, value)
    unused = [node for node in (y.producer(), found.node) if node is not None]
    graph.remove(dict.fromkeys(unused), safe=True)
    return True


def _lift(y: ir.Value) -> ir.Value | None:
    """Return the constant a channel that was added last, or None."""
    node = y.producer()
    if node is None or node.op_type != "Add" or y.shape is None:
        return None
    added = node.inputs[1]
    constant = None if added is None else constant_tensor(added)
    wide = (y.shape[1], *[1] * (len(y.shape) - 2))
    return added if constant is not None and tuple(constant.shape) == wide else None


def _average_before(
    graph: ir.Graph, mean: ir.Node, found: ChannelScale, lift: ir.Value | None
) -> None:
    """Average the map before its scale, and scale the average."""
    emitter = Emitter(graph, mean)
    keep = bool(mean.attributes.get_int("keepdims", 1))
    pooled = emitter.op("ReduceMean", [found.scaled, *mean.inputs[1:]], mean.attributes)
    pooled.shape, pooled.type = mean.outputs[0].shape, mean.outputs[0].type
    factor = found.factor if keep else emitter.op("Flatten", [found.factor], {"axis": 1})
    scaled = emitter.op("Mul", [pooled, factor])
    constant = None if lift is None else constant_tensor(lift)
    if constant is not None:
        beside = constant if keep else constant.reshape(-1)
        scaled = emitter.op("Add", [scaled, emitter.constant(beside)])
    emitter.replace_with(scaled)
