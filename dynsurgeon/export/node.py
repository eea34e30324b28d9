"""Write one node into a graph that torch is tracing, by whichever of its two tracers.

torch.export knows `torch.onnx.ops.symbolic`. The older tracer of TorchScript, which detectors need,
loses all shapes at a node that it doesn't know. So it traces what a static network does there, and
the place is marked: `detectors.marks` puts the node there afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

DOMAIN, VERSION = "dynsurgeon", 1


@dataclass(frozen=True)
class Mark:
    """A place in a traced graph where a node belongs.

    Attributes:
        operator: The node's operator, of the domain `DOMAIN`.
        attributes: Its attributes.
        tensors: What stands there now, and what goes into the node.
        shape: Shape of what comes out, in this run.
    """

    operator: str
    attributes: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    shape: tuple[int, ...]


_marks: ContextVar[list[Mark] | None] = ContextVar("marks", default=None)


@contextmanager
def marking() -> Iterator[list[Mark]]:
    """Mark the places of nodes, in this thread and context, and give the list of them."""
    marks: list[Mark] = []
    token = _marks.set(marks)
    try:
        yield marks
    finally:
        _marks.reset(token)


def write_node(
    operator: str,
    inputs: Sequence[Tensor],
    attributes: Mapping[str, Any],
    static: Callable[[Tensor], Tensor],
) -> Tensor:
    """Stand for an operation by one node.

    Args:
        operator: The node's operator, of the domain `DOMAIN`.
        inputs: What goes in.
        attributes: Whole numbers, and lists of whole or of floating numbers.
        static: What a static network would compute of the first input, of the node's shape.
    """
    marks = _marks.get()
    if marks is not None:
        return _marked(marks, operator, inputs, attributes, static)
    like = static(inputs[0])
    node: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{operator}",
        inputs,
        dict(attributes),
        dtype=like.dtype,
        shape=like.shape,
        version=VERSION,
    )
    return node


def _marked(
    marks: list[Mark],
    operator: str,
    inputs: Sequence[Tensor],
    attributes: Mapping[str, Any],
    static: Callable[[Tensor], Tensor],
) -> Tensor:
    # Copies, which cost no node: what is written into later would be another value of the graph.
    x = inputs[0].clone()
    y = static(x)
    shape = tuple(int(size) for size in y.shape)
    whole = {name: _plain(value) for name, value in attributes.items()}
    marks.append(Mark(operator, whole, (y, x, *inputs[1:]), shape))
    return y.clone()


def _plain(value: Any) -> Any:
    """Return numbers as Python's: while it traces, TorchScript makes tensors of sizes."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, float) else int(value)
