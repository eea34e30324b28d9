"""Store kernel banks in 16 or 8 bits, which makes the file smaller; they are mixed in single.

What turns them back stands in the outermost graph, behind the stored bank: onnxruntime does it
once, when it loads the file, so that the file runs as fast as one of single precision. Heads of the
attentions and of DY-ReLUs are stored in half precision beside a bank of 8 bits: they are then most
of what is left.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

import onnx_ir as ir
import torch

from dynsurgeon.export.passes.round_bank import to_int8
from dynsurgeon.export.tensors import new_initializer, set_tensor, tensor_of
from dynsurgeon.form_names import BankName
from dynsurgeon.graphs.filters import Filters, filters_of


def shrink_banks(
    model: ir.Model, banks: Mapping[str, Filters], heads: Collection[str], stored: BankName
) -> int:
    """Shrink every bank in single precision that lies in the outer graph, and return how many.

    Args:
        model: The finished model, changed in place.
        banks: How the filters of each bank lie, by its key in the state_dict.
        heads: Keys of the heads' weights, which ``"int8"`` halves.
        stored: How banks are stored.
    """
    found = [(value, _filters(value, banks)) for value in _floats(model.graph)]
    shrunk = [(value, filters) for value, filters in found if filters is not None]
    for value, filters in shrunk:
        if stored == "half":
            _halve(model.graph, value)
        else:
            _quantize(model.graph, value, filters)
    if stored == "int8":
        for value in [v for v in _floats(model.graph) if _key(v) in heads or v.name in heads]:
            _halve(model.graph, value)
    return len(shrunk)


def _floats(graph: ir.Graph) -> list[ir.Value]:
    return [v for v in graph.initializers.values() if v.dtype == ir.DataType.FLOAT]


def _filters(value: ir.Value, banks: Mapping[str, Filters]) -> Filters | None:
    """Return how the filters of a bank lie in memory; None for what is no bank."""
    if value.name in banks:
        return banks[str(value.name)]
    part = banks.get(_key(value))
    return filters_of(value) if part is None else replace(part, kernels=1)


def _key(value: ir.Value) -> str:
    return re.sub(r"_\d+$", "", str(value.name))  # an expert's own rows are numbered


def _halve(graph: ir.Graph, value: ir.Value) -> None:
    tensor = tensor_of(value)
    _restore(graph, value, [_node(value, "Cast", value, to=ir.DataType.FLOAT.value)])
    set_tensor(value, tensor.to(torch.float16))


def _quantize(graph: ir.Graph, value: ir.Value, filters: Filters) -> None:
    """Write ``Reshape(Cast(stored) * scales)`` in place of a bank."""
    bank = tensor_of(value)
    whole, scales = to_int8(bank, filters)
    scale = new_initializer(graph, f"{value.name}/scales", scales)
    shape = new_initializer(graph, f"{value.name}/shape", torch.tensor(bank.shape))
    cast = _node(value, "Cast", value, to=ir.DataType.FLOAT.value)
    product = _node(value, "Mul", cast.outputs[0], scale)
    _restore(graph, value, [cast, product, _node(value, "Reshape", product.outputs[0], shape)])
    set_tensor(value, whole)


def _restore(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    """Put nodes at the head of the graph, and what they compute in place of `value`."""
    output = nodes[-1].outputs[0]
    output.shape, output.type = value.shape, ir.TensorType(ir.DataType.FLOAT)
    value.type = ir.TensorType(ir.DataType.FLOAT)  # others may share the object that it had
    for use in [use for use in value.uses() if use.node not in nodes]:
        use.node.replace_input_with(use.idx, output)
    graph.insert_before(graph[0], nodes)


def _node(source: ir.Value, operator: str, *inputs: ir.Value, **attributes: int) -> ir.Node:
    node = ir.node(operator, inputs, attributes, name=f"{source.name}/{operator}")
    node.outputs[0].name = f"{node.name}_output"
    return node
