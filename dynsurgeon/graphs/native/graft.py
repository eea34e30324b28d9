"""Put computed kernels back in place of their stand-ins, in the layout onnxruntime gave those.

Mixing is linear, so it does not care in which order the numbers of a kernel lie: the whole bank is
arranged once, at export, and the mixed kernel comes out arranged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from dynsurgeon.graphs.filters import Filters, note_filters
from dynsurgeon.graphs.initializers import Array, array_of, is_constant, new_initializer
from dynsurgeon.graphs.native.memory import Memory, recognise
from dynsurgeon.graphs.native.standins import KERNEL_AXES, Computed, StandIn
from dynsurgeon.graphs.tiles import to_tiles

CONVOLUTIONS = ("Conv", "FusedConv")


def graft(model: ir.Model, stand_ins: Sequence[StandIn]) -> list[str]:
    """Replace stand-ins in a graph that onnxruntime optimised.

    Args:
        model: The optimised model, changed in place.
        stand_ins: What `insert_stand_ins` returned.

    Returns:
        Names of the convolutions whose stand-in was not found as it should be: those must be
        exported without one.
    """
    nodes = _by_first_number(model.graph)
    failed = []
    for stand_in in stand_ins:
        node = nodes.get(float(stand_in.kernel.stand_in.flat[0]))
        memory = None if node is None else _memory(node, stand_in)
        if node is None or memory is None:
            failed.append(stand_in.name)
            continue
        _Surgeon(model.graph, node, stand_in.name, memory).put_back(stand_in)
    return failed


def _by_first_number(graph: ir.Graph) -> dict[float, ir.Node]:
    """Index convolutions by their kernel's first number, which is the first in every layout."""
    nodes = [n for n in graph if n.op_type in CONVOLUTIONS and is_constant(n.inputs[1])]
    kernels = [array_of(n.inputs[1]) for n in nodes if n.inputs[1] is not None]
    return {float(kernel.flat[0]): n for kernel, n in zip(kernels, nodes, strict=True)}


def _memory(node: ir.Node, stand_in: StandIn) -> Memory | None:
    """Return the layout of a node's kernel if its bias is the stand-in's as well."""
    kernel, bias = node.inputs[1], (*node.inputs, None)[2]
    assert kernel is not None
    memory = recognise(stand_in.kernel.stand_in, array_of(kernel))
    if memory is None or stand_in.bias is None:
        return memory
    if not is_constant(bias) or bias is None:
        return None
    same = np.array_equal(memory.vector(stand_in.bias.stand_in), array_of(bias))
    return memory if same else None


class _Surgeon:
    """Puts the computed kernel and bias of one convolution back."""

    def __init__(self, graph: ir.Graph, node: ir.Node, name: str, memory: Memory) -> None:
        self.graph, self.node, self.name, self.memory = graph, node, name, memory

    def put_back(self, stand_in: StandIn) -> None:
        self._replace(1, stand_in.kernel, "kernel", self.memory.arrange)
        if stand_in.bias is not None:
            self._replace(2, stand_in.bias, "bias", self.memory.vector)

    def _replace(
        self, place: int, computed: Computed, part: str, arrange: Callable[[Array], Array]
    ) -> None:
        stored = self.node.inputs[place]
        assert stored is not None
        assert stored.shape is not None
        shape = [int(size) for size in stored.shape]  # type: ignore[arg-type]
        if computed.bank is None:
            value = self._filled(computed, part, shape[0])
        else:
            bank = np.stack([arrange(kernel) for kernel in computed.bank])
            mixed = self._mixed(computed.source, bank, part)
            target = self._constant(f"{part}/shape", np.array(shape))
            value = self._op("Reshape", [mixed, target], part)
        self.node.replace_input_with(place, value)

    def _mixed(self, source: str, bank: Array, part: str) -> ir.Value:
        tiles = self._constant(f"{part}s", to_tiles(bank))
        if bank.ndim > KERNEL_AXES:
            width = self.memory.block
            note_filters(tiles, Filters(prod(bank.shape[2:]) // width, width, len(bank)))
        return self._op("MatMul", [self._find(source), tiles], part)

    def _filled(self, computed: Computed, part: str, channels: int) -> ir.Value:
        """Fill a computed vector up to whole blocks; its order is the same in every layout."""
        value, missing = self._find(computed.source), channels - len(computed.stand_in)
        if not missing:
            return value
        zeros = np.zeros((missing, *computed.stand_in.shape[1:]), computed.stand_in.dtype)
        filling = self._constant(f"{part}/filling", zeros)
        return self._op("Concat", [value, filling], part, axis=0)

    def _find(self, name: str) -> ir.Value:
        return next(value for value in self.graph.outputs if value.name == name)

    def _constant(self, name: str, array: Array) -> ir.Value:
        return new_initializer(self.graph, f"{self.name}/{name}", array)

    def _op(self, operator: str, inputs: list[ir.Value], part: str, **attributes: int) -> ir.Value:
        node = ir.node(operator, inputs, attributes, name=f"{self.name}/{part}/{operator}")
        node.outputs[0].name = f"{node.name}_output"
        self.graph.insert_before(self.node, node)
        return node.outputs[0]
