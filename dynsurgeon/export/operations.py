"""The dynamic operations that a captured graph holds as one node each, until a form is chosen.

An operator whose layers compute with constant kernels needs no line here: torch traces it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dynsurgeon.export.forms.site import OPERATOR, site_attributes
from dynsurgeon.export.lines.site import lines_node
from dynsurgeon.export.node import write_node
from dynsurgeon.operators.execution import forced_algorithm
from dynsurgeon.operators.geometry import ConvGeometry
from dynsurgeon.operators.relu_lines import LinesLayer, forced_lines

Standing = Literal["nodes", "static"]
"""What stands for a dynamic operation while torch traces: a node of its own, or the static one."""


@dataclass(frozen=True)
class Operation:
    """A dynamic operation.

    Attributes:
        nodes: Makes layers emit one node for it, in a context.
        static: Makes layers compute what a static network would, to tell whose fault it is when a
            trace fails.
    """

    nodes: Callable[[], AbstractContextManager[None]]
    static: Callable[[], AbstractContextManager[None]]


@contextmanager
def standing_for_operations(standing: Standing) -> Iterator[None]:
    """Let nodes or static operations stand for every dynamic operation in this context."""
    with ExitStack() as stack:
        for operation in OPERATIONS:
            stack.enter_context(getattr(operation, standing)())
        yield


def one_node(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Stand for a dynamic convolution by one node; a static one tells its shape."""

    def static(x: Tensor) -> Tensor:
        return one_kernel(x, pi, weight, bias, geometry)

    inputs = (x, pi, weight) if bias is None else (x, pi, weight, bias)
    return write_node(OPERATOR, inputs, site_attributes(geometry, weight.shape[3:]), static)


def one_kernel(
    x: Tensor, pi: Tensor, weight: Tensor, bias: Tensor | None, geometry: ConvGeometry
) -> Tensor:
    """Convolve with the first kernel: what the static network would do."""
    del pi
    return geometry.convolve(x, weight[0], None if bias is None else bias[0], geometry.groups)


def one_line(module: LinesLayer, x: Tensor) -> Tensor:
    """Compute a plain ReLU: what a static network would do."""
    del module
    return torch.relu(x)


OPERATIONS = (
    Operation(lambda: forced_algorithm(one_node), lambda: forced_algorithm(one_kernel)),
    Operation(lambda: forced_lines(lines_node), lambda: forced_lines(one_line)),
)
