"""A maximum of lines as the captured graph holds it: one node, until a form takes its place.

    y = dynsurgeon::MaxOfLines(x, theta, alpha, beta[, gain, lift])

with ``y = max_k(a_k x + b_k)``, ``a = alpha + lambda_a (2 sigmoid(theta_a) - 1)`` and the same for
b (arXiv 2003.10027, equation 3). Shift-Max's lines hold ``c_k`` times another channel too. With a
gain and a lift, x stands for ``gain x + lift``. The file never holds this operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import onnx_ir as ir
import torch
from torch import Tensor

from dynsurgeon.export.node import DOMAIN, write_node
from dynsurgeon.export.tensors import tensor_of
from dynsurgeon.operators.relu_lines import LinesLayer

OPERATOR = "MaxOfLines"


@dataclass(frozen=True)
class LinesSite:
    """What a form needs to know of a maximum of lines.

    Attributes:
        x: Input ``(N, C, *spatial)``.
        theta: What the head says, ``(N, rows C)``, or ``(N, rows)`` of kind A: slopes, then those
            of the second channel, then offsets, of which the last two may be missing.
        alpha: Start of the slopes ``(K, 1)`` or ``(K, C)``.
        beta: Start of the offsets, of the same shapes.
        lambda_a: Reach of the slopes around their start.
        lambda_b: Reach of the offsets around their start.
        width: Channels that theta tells apart: C, or 1 of kind A.
        rows: Numbers that theta holds for each of them.
        spatial: Number of spatial axes.
        shift: How many channels further on the second channel is, or None.
        gain: What x is multiplied by first, ``(N, C, *ones)``, or None.
        lift: What is added to that, ``(C, *ones)``, or None.
    """

    x: ir.Value
    theta: ir.Value
    alpha: Tensor
    beta: Tensor
    lambda_a: float
    lambda_b: float
    width: int
    rows: int
    spatial: int
    shift: int | None = None
    gain: ir.Value | None = None
    lift: ir.Value | None = None

    @classmethod
    def of(cls, node: ir.Node) -> LinesSite:
        """Read the site off its node."""
        x, theta, alpha, beta, gain, lift = (*node.inputs, None, None)[:6]
        assert x is not None
        assert theta is not None
        assert alpha is not None
        assert beta is not None
        reach = node.attributes["reach"].as_floats()
        sizes = {name: node.attributes[name].as_int() for name in ("width", "rows", "spatial")}
        return cls(
            x,
            theta,
            tensor_of(alpha),
            tensor_of(beta),
            lambda_a=reach[0],
            lambda_b=reach[1],
            shift=node.attributes["shift"].as_int() or None,
            gain=gain,
            lift=lift,
            **sizes,
        )

    @property
    def batch(self) -> int | None:
        """Samples in x; None where they are free."""
        rows = None if self.x.shape is None else self.x.shape[0]
        return rows if isinstance(rows, int) else None

    @property
    def places(self) -> int | None:
        """Numbers in a channel of x; None where they are free."""
        sizes = [] if self.x.shape is None else self.x.shape[2:]
        known = [size for size in sizes if isinstance(size, int)]
        return prod(known) if len(known) == self.spatial else None

    @property
    def tells_channels_apart(self) -> bool:
        """Whether each channel has lines of its own."""
        return self.x.shape is not None and self.width == self.x.shape[1]

    @property
    def pieces(self) -> int:
        """Number of lines K."""
        return len(self.alpha)

    @property
    def kinds(self) -> str:
        """What theta's rows are, K of each: slopes a, those c of a second channel, offsets b."""
        second = "" if self.shift is None else "c"
        return f"a{second}b"[: self.rows // self.pieces]

    def reach(self) -> Tensor:
        """How far each entry of theta reaches, ``(rows width,)``."""
        size = self.pieces * self.width
        reach = {"a": self.lambda_a, "c": self.lambda_a, "b": self.lambda_b}
        return torch.cat([self.alpha.new_full((size,), reach[kind]) for kind in self.kinds])

    def start(self) -> Tensor:
        """Where each coefficient starts, ``(rows width,)``."""
        start = {"a": self.alpha, "c": torch.zeros_like(self.alpha), "b": self.beta}
        rows = [start[kind].expand(self.pieces, self.width).reshape(-1) for kind in self.kinds]
        return torch.cat(rows)


def lines_node(module: LinesLayer, x: Tensor) -> Tensor:
    """Stand for a maximum of lines by one node."""
    rows = module.rows()
    attributes = {
        "reach": [float(module.config.lambda_a), float(module.config.lambda_b)],
        "width": module.fc2.out_features // rows,
        "rows": rows,
        "spatial": x.dim() - 2,
        "shift": module.shift or 0,
    }
    inputs = (x, module.theta(x), module.alpha, module.beta)
    return write_node(OPERATOR, inputs, attributes, torch.relu)


def is_lines(node: ir.Node) -> bool:
    """Whether a node is a maximum of lines that no form has replaced yet."""
    return node.domain == DOMAIN and node.op_type == OPERATOR
