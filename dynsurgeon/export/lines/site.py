"""A DY-ReLU as the captured graph holds it: one node, until a form takes its place.

    y = dynsurgeon::MaxOfLines(x, theta, alpha, beta)

with ``y = max_k(a_k x + b_k)``, ``a = alpha + lambda_a (2 sigmoid(theta_a) - 1)`` and the same for
b (arXiv 2003.10027, equation 3). The file never holds this operator.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor

from dynsurgeon.export.forms.site import DOMAIN, VERSION
from dynsurgeon.export.tensors import tensor_of
from dynsurgeon.operators.relu import DynamicReLU

OPERATOR = "MaxOfLines"


@dataclass(frozen=True)
class LinesSite:
    """What a form needs to know of a maximum of lines.

    Attributes:
        x: Input ``(N, C, *spatial)``.
        theta: What the head says, ``(N, 2 K C)``, or ``(N, 2 K)`` of kind A: slopes, then offsets.
        alpha: Start of the slopes ``(K, 1)`` or ``(K, C)``.
        beta: Start of the offsets, of the same shapes.
        lambda_a: Reach of the slopes.
        lambda_b: Reach of the offsets.
        width: Channels that theta tells apart: C, or 1 of kind A.
        spatial: Number of spatial axes.
    """

    x: ir.Value
    theta: ir.Value
    alpha: Tensor
    beta: Tensor
    lambda_a: float
    lambda_b: float
    width: int
    spatial: int

    @classmethod
    def of(cls, node: ir.Node) -> LinesSite:
        """Read the site off its node."""
        x, theta, alpha, beta = node.inputs
        assert x is not None
        assert theta is not None
        assert alpha is not None
        assert beta is not None
        reach = node.attributes["reach"].as_floats()
        width, spatial = node.attributes["width"].as_int(), node.attributes["spatial"].as_int()
        return cls(x, theta, tensor_of(alpha), tensor_of(beta), reach[0], reach[1], width, spatial)

    @property
    def pieces(self) -> int:
        """Number of lines K."""
        return len(self.alpha)

    def reach(self) -> Tensor:
        """How far each entry of theta reaches, ``(2 K width,)``."""
        size = self.pieces * self.width
        rows = [self.alpha.new_full((size,), reach) for reach in (self.lambda_a, self.lambda_b)]
        return torch.cat(rows)

    def start(self) -> Tensor:
        """Where each coefficient starts, ``(2 K width,)``."""
        rows = [t.expand(self.pieces, self.width).reshape(-1) for t in (self.alpha, self.beta)]
        return torch.cat(rows)


def lines_node(module: DynamicReLU, x: Tensor) -> Tensor:
    """Stand for a maximum of lines by one node."""
    y: Tensor = torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OPERATOR}",
        (x, module.theta(x), module.alpha, module.beta),
        {
            "reach": [module.config.lambda_a, module.config.lambda_b],
            "width": module.fc2.out_features // (2 * module.pieces),
            "spatial": x.dim() - 2,
        },
        dtype=x.dtype,
        shape=x.shape,
        version=VERSION,
    )
    return y


def is_lines(node: ir.Node) -> bool:
    """Whether a node is a maximum of lines that no form has replaced yet."""
    return node.domain == DOMAIN and node.op_type == OPERATOR
