"""A CPU with blocks of a chosen width, in plain ONNX operators: both widths on any machine.

`lay_out_for` arranges constant kernels as onnxruntime does on such a CPU, from the layout's own
definition in `slots`, and `in_plain_operators` says what that CPU computes with what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir
import torch
from torch import Tensor

from dynsurgeon.export.tensors import new_initializer, tensor_of
from dynsurgeon.graphs.initializers import is_constant
from dynsurgeon.graphs.native.optimise import NCHWC

Place = tuple[int, int, int, int]


def slots(shape: Sequence[int], width: int, *, both: bool) -> Iterator[Place]:
    """Yield, in the order of memory, the output, input, row and column of each number.

    Args:
        shape: Of the kernel, ``(O, I, h, w)``.
        width: Channels in a block.
        both: Whether input channels are in blocks as well as output channels.
    """
    out, into, height, columns = shape
    inner = width if both else 1
    for first_out in range(0, out, width):
        for first_in in range(0, into, inner):
            for row in range(height):
                for column in range(columns):
                    for i in range(first_in, first_in + inner):
                        for o in range(first_out, first_out + width):
                            yield o, i, row, column


def stored(kernel: Tensor, width: int, *, both: bool) -> Tensor:
    """Return a kernel as it lies in memory; what is no channel is 0."""
    out, into = kernel.shape[:2]
    numbers = [
        float(kernel[place]) if place[0] < out and place[1] < into else 0.0
        for place in slots(kernel.shape, width, both=both)
    ]
    return torch.tensor(numbers)


def optimise_for(model: ir.Model, width: int) -> ir.Model:
    """Return the graph with its constant kernels as they lie on a CPU with such blocks."""
    for node in [n for n in model.graph if n.op_type == "Conv" and is_constant(n.inputs[1])]:
        _arrange(model.graph, node, width)
    return model


def in_plain_operators(model: ir.Model, width: int) -> ir.Model:
    """Return what a CPU with such blocks computes with this graph, which any CPU can run."""
    graph = model.graph
    for node in [n for n in graph if n.domain == NCHWC]:
        if node.op_type == "Conv":
            _read_kernel(graph, node, width)
            node.domain = ""
        elif node.op_type == "ReorderInput":
            _reorder(graph, node, width)
    graph.sort()
    return model


def _arrange(graph: ir.Graph, node: ir.Node, width: int) -> None:
    kernel = tensor_of(_input(node, 1))
    groups = node.attributes.get_int("group", 1)
    depthwise = groups == kernel.shape[0] and kernel.shape[1] == 1
    if kernel.dim() != 4 or (groups > 1 and not depthwise):
        return  # such a convolution keeps its plain layout
    both = groups == 1 and kernel.shape[1] >= width
    filled = [_up(kernel.shape[0], width), _up(kernel.shape[1], width if both else 1)]
    arranged = stored(kernel, width, both=both).view(*filled, *kernel.shape[2:])
    node.replace_input_with(1, new_initializer(graph, f"{node.name}/arranged", arranged))
    if len(node.inputs) > 2 and is_constant(node.inputs[2]):
        bias = torch.zeros(filled[0])
        bias[: len(kernel)] = tensor_of(_input(node, 2))
        node.replace_input_with(2, new_initializer(graph, f"{node.name}/filled", bias))
    node.domain = NCHWC
    node.metadata_props["plain"] = " ".join(map(str, [*kernel.shape, int(both)]))


def _read_kernel(graph: ir.Graph, node: ir.Node, width: int) -> None:
    """Read a kernel back into the plain order, by the definition of its layout."""
    *shape, both = map(int, node.metadata_props["plain"].split())
    order = {place: k for k, place in enumerate(slots(shape, width, both=bool(both)))}
    wanted = [order[o, i, r, c] for o, i, r, c in torch.cartesian_prod(*map(torch.arange, shape))
              .tolist()]  # fmt: skip
    row = _add(graph, node, "Reshape", [_input(node, 1), torch.tensor([-1])], "row")
    plain = _add(graph, node, "Gather", [row, torch.tensor(wanted)], "gather")
    kernel = _add(graph, node, "Reshape", [plain, torch.tensor(shape)], "kernel")
    node.replace_input_with(1, kernel)
    if len(node.inputs) > 2:
        bias: list[ir.Value | Tensor] = [_input(node, 2), torch.arange(shape[0])]
        node.replace_input_with(2, _add(graph, node, "Gather", bias, "bias"))


def _reorder(graph: ir.Graph, node: ir.Node, width: int) -> None:
    _, channels, rows, columns = tensor_of(_input(node, 0)).shape
    split = torch.tensor([channels // width, width, rows, columns])
    blocks = _add(graph, node, "Reshape", [_input(node, 0), split], "split")
    turned = ir.node("Transpose", [blocks], {"perm": [0, 2, 3, 1]})
    turned.outputs[0].name = f"{node.name}/turned"
    graph.insert_before(node, turned)
    node.outputs[0].replace_all_uses_with(turned.outputs[0])
    graph.remove(node, safe=True)


def _add(
    graph: ir.Graph, before: ir.Node, operator: str, inputs: Sequence[ir.Value | Tensor], what: str
) -> ir.Value:
    name = f"{before.name}/read/{what}"
    values = [
        new_initializer(graph, f"{name}/{k}", x) if isinstance(x, Tensor) else x
        for k, x in enumerate(inputs)
    ]
    node = ir.node(operator, values, name=name)
    node.outputs[0].name = f"{name}/output"
    graph.insert_before(before, node)
    return node.outputs[0]


def _input(node: ir.Node, place: int) -> ir.Value:
    value = node.inputs[place]
    assert value is not None
    return value


def _up(count: int, width: int) -> int:
    return -(-count // width) * width
