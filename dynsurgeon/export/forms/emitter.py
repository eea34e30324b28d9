"""Writes the nodes that take the place of another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from dynsurgeon.export.tensors import derived_initializer


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

    def shape(self, *sizes: int) -> ir.Value:
        """Write a constant vector of whole numbers."""
        return self.op("Constant", [], {"value_ints": sizes})

    def reshape(self, value: ir.Value, *sizes: int) -> ir.Value:
        """Write a Reshape; 0 keeps the size at that place, -1 takes what is left."""
        return self.op("Reshape", [value, self.shape(*sizes)])

    def flat_bank(self, bank: ir.Value) -> ir.Value:
        """Return the bank ``(K, *shape)`` as ``(K, numbers of one kernel)``."""
        return derived_initializer(self.graph, bank, "flat", lambda t: t.flatten(1))

    def replace_with(self, output: ir.Value) -> None:
        """Put the nodes in place of the old one, and `output` in place of its output."""
        old = self.node.outputs[0]
        ir.convenience.replace_nodes_and_values(
            self.graph, self.node, [self.node], self._tape.nodes, [old], [output]
        )
