"""Writes the nodes that take the place of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor

from dynsurgeon.export.tensors import derived_initializer
from dynsurgeon.graphs.tiles import to_tiles


class Emitter:
    """Collects nodes that stand for `node`, then puts them in its place.

    The new nodes take over its metadata, so that they still say which module they come from.
    """

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self.graph, self.node = graph, node
        self._tape = ir.tape.Tape()

    def op(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        """Write a node with one output and return that."""
        metadata = dict(self.node.metadata_props)
        return self._tape.op(operator, inputs, attributes or {}, metadata_props=metadata)

    def ops(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any],
        outputs: int,
    ) -> Sequence[ir.Value]:
        """Write a node with so many outputs and return them."""
        metadata = dict(self.node.metadata_props)
        return self._tape.op_multi_out(
            operator, inputs, attributes, num_outputs=outputs, metadata_props=metadata
        )

    def constant(self, tensor: Tensor) -> ir.Value:
        """Write a constant."""
        return self.op("Constant", [], {"value": TorchTensor(tensor.contiguous())})

    def shape(self, *sizes: int) -> ir.Value:
        """Write a constant vector of whole numbers."""
        return self.op("Constant", [], {"value_ints": sizes})

    def reshape(self, value: ir.Value, *sizes: int) -> ir.Value:
        """Write a Reshape; 0 keeps the size at that place, -1 takes what is left."""
        return self.op("Reshape", [value, self.shape(*sizes)])

    def flat_bank(self, bank: ir.Value) -> ir.Value:
        """Return the bank ``(K, *shape)`` as ``(K, numbers of one kernel)``."""
        return derived_initializer(self.graph, bank, "flat", lambda t: t.flatten(1))

    def mixed_kernel(self, pi: ir.Value, bank: ir.Value) -> ir.Value:
        """Mix the kernel of one sample, ``pi`` being ``(1, K)``; see `tiles`."""
        return self.op("MatMul", [pi, derived_initializer(self.graph, bank, "tiles", _tiles)])

    def replace_with(self, output: ir.Value) -> None:
        """Put the nodes in place of the old one, and `output` in place of its output."""
        old = self.node.outputs[0]
        ir.convenience.replace_nodes_and_values(
            self.graph, self.node, [self.node], self._tape.nodes, [old], [output]
        )


def _tiles(bank: Tensor) -> Tensor:
    return torch.from_numpy(to_tiles(bank.numpy()))
