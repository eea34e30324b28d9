"""Constants that stand for computed kernels while onnxruntime lays a graph out.

onnxruntime gives a convolution its fast layout, and fuses it with the addition and activation after
it, only where the kernel is a constant. So each computed kernel, and its computed bias, gets a
random constant of its shape as a stand-in. What it was computed from becomes an output of the graph
for so long, which keeps it alive and keeps its name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as common

from dynsurgeon.graphs.initializers import Array, array_of, is_constant, new_initializer
from dynsurgeon.graphs.tiles import from_tiles

KERNEL_AXES = 4
"""onnxruntime lays out convolutions in two dimensions alone."""


@dataclass(frozen=True)
class Computed:
    """What takes the place of a stand-in in the end.

    Attributes:
        source: Name of the attention ``(1, K)`` of a mixture, or of the computed value itself.
        bank: What is mixed, ``(K, *shape)``; None where the value is used as it is.
        stand_in: The constant, of the value's shape.
    """

    source: str
    bank: Array | None
    stand_in: Array


@dataclass(frozen=True)
class StandIn:
    """A convolution whose kernel is computed.

    Attributes:
        name: Name of its node.
        kernel: The kernel ``(O, I/groups, h, w)``.
        bias: The bias ``(O,)`` if that is computed too.
    """

    name: str
    kernel: Computed
    bias: Computed | None


def insert_stand_ins(model: ir.Model, skip: Collection[str] = ()) -> list[StandIn]:
    """Put stand-ins into a graph in place of computed kernels, and return them.

    Args:
        model: A named model of one sample, changed in place.
        skip: Names of convolutions to leave as they are.
    """
    graph, generator = model.graph, np.random.default_rng(0)
    found = []
    for node in [n for n in graph if n.op_type == "Conv" and str(n.name) not in skip]:
        kernel = _computed(node, 1, generator)
        if kernel is None or kernel.stand_in.ndim != KERNEL_AXES:
            continue
        bias = _computed(node, 2, generator)
        found.append(StandIn(str(node.name), kernel, bias))
        _insert(graph, node, 1, kernel)
        if bias is not None:
            _insert(graph, node, 2, bias)
    common.RemoveUnusedNodesPass()(model)
    return found


def _computed(node: ir.Node, place: int, generator: np.random.Generator) -> Computed | None:
    value = node.inputs[place] if len(node.inputs) > place else None
    if value is None or value.is_graph_input() or is_constant(value) or value.shape is None:
        return None
    shape = [size for size in value.shape if isinstance(size, int)]
    if len(shape) != len(value.shape):
        return None
    stand_in = generator.random(shape, np.float32) + np.float32(0.5)
    mixture = _mixture(value)
    if mixture is not None and mixture[1].shape[1] != stand_in.size:
        return None  # kernels of several samples at once
    if mixture is None:
        a_vector = all(size == 1 for size in shape[1:])
        return Computed(str(value.name), None, stand_in) if a_vector else None
    pi, bank = mixture
    return Computed(str(pi.name), bank.reshape(-1, *shape), stand_in)


def _mixture(value: ir.Value) -> tuple[ir.Value, Array] | None:
    """Return attention and bank if `value` is ``Reshape(MatMul(pi, bank))``.

    The attention is taken before a Reshape of its own, which form *plain* has for other runtimes.
    """
    product = _before_reshape(value)
    matmul = None if product is None else product.producer()
    if matmul is None or matmul.op_type != "MatMul" or not is_constant(matmul.inputs[1]):
        return None
    pi, bank = matmul.inputs
    assert pi is not None
    assert bank is not None
    pi = _before_reshape(pi) or pi
    stored = array_of(bank)
    return pi, from_tiles(stored) if stored.ndim > 2 else stored


def _before_reshape(value: ir.Value) -> ir.Value | None:
    node = value.producer()
    return node.inputs[0] if node is not None and node.op_type == "Reshape" else None


def _insert(graph: ir.Graph, node: ir.Node, place: int, computed: Computed) -> None:
    name = f"{node.name}/{'kernel' if place == 1 else 'bias'}"
    source = _named(node.inputs[place], computed.source)
    if not source.is_graph_output():
        graph.outputs.append(source)
    node.replace_input_with(place, new_initializer(graph, name, computed.stand_in))


def _named(value: ir.Value | None, name: str) -> ir.Value:
    """Return the value of that name among `value` and what it was computed from, in three steps."""
    assert value is not None
    for _ in range(3):
        if value.name == name:
            break
        producer = value.producer()
        assert producer is not None
        assert producer.inputs[0] is not None
        value = producer.inputs[0]
    return value
