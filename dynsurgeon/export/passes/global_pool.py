"""Write a mean over all spatial axes as the GlobalAveragePool that runtimes are quick at."""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter


def use_global_pool(model: ir.Model) -> int:
    """Replace every such ReduceMean, and return how many."""
    nodes = [node for node in model.graph if is_global_mean(node)]
    for node in nodes:
        emitter = Emitter(model.graph, node)
        pooled = emitter.op("GlobalAveragePool", [node.inputs[0]])
        keep = node.attributes.get_int("keepdims", 1)
        emitter.replace_with(pooled if keep else emitter.op("Flatten", [pooled], {"axis": 1}))
    return len(nodes)


def is_global_mean(node: ir.Node) -> bool:
    """Whether a node averages a map over all its spatial axes and no other."""
    if node.op_type != "ReduceMean" or node.domain or node.inputs[0] is None:
        return False
    shape = node.inputs[0].shape
    if shape is None or not 3 <= len(shape) <= 5 or node.inputs[0].dtype not in _FLOATS:
        return False
    axes = _axes(node)
    return axes is not None and {a % len(shape) for a in axes} == set(range(2, len(shape)))


_FLOATS = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, ir.DataType.BFLOAT16}


def _axes(node: ir.Node) -> list[int] | None:
    if len(node.inputs) < 2 or node.inputs[1] is None:
        return None
    constant = ir.convenience.get_const_tensor(node.inputs[1])
    return None if constant is None else [int(a) for a in constant.numpy().reshape(-1)]
