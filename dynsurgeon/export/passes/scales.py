"""Channel scales in a captured graph: what multiplies each channel of a map by a number a sample.

    y = f * c          f ``(N, C, 1, …)``, computed from a sample, and c a map ``(N, C, *spatial)``

Scales, gates and a network's own squeeze-and-excite blocks all look like this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from dynsurgeon.graphs.initializers import is_constant


@dataclass(frozen=True)
class ChannelScale:
    """A multiplication of a map by a number a sample and channel.

    Attributes:
        node: The multiplication.
        scaled: The map.
        factor: The numbers, of the map's rank.
    """

    node: ir.Node
    scaled: ir.Value
    factor: ir.Value

    @classmethod
    def of(cls, value: ir.Value | None) -> ChannelScale | None:
        """Return what gives `value`, if that is such a multiplication."""
        node = None if value is None else value.producer()
        if node is None or node.op_type != "Mul" or node.domain:
            return None
        one, other = node.inputs
        for scaled, factor in ((one, other), (other, one)):
            if scaled is not None and factor is not None and _scales(factor, scaled):
                return cls(node, scaled, factor)
        return None


def only_used_by(value: ir.Value) -> ir.Node | None:
    """Return the one node that uses a value, or None where it is looked at elsewhere too."""
    users = list(users_of(value))
    return users[0] if len(users) == 1 and not value.is_graph_output() else None


def users_of(value: ir.Value) -> Iterator[ir.Node]:
    """Return a node for each use of a value."""
    return (use.node for use in value.uses())


def _scales(factor: ir.Value, scaled: ir.Value) -> bool:
    if factor.shape is None or scaled.shape is None or is_constant(factor):
        return False
    rank = len(factor.shape)
    ones = all(size == 1 for size in factor.shape[2:])
    return rank == len(scaled.shape) and rank > 2 and ones and factor.shape[1] == scaled.shape[1]
