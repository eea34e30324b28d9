"""Dynamic Shift-Max (MicroNet, arXiv 2108.05894): lines that read another channel too.

    y_i = max_k ( a_ki(x) x_i + c_ki(x) x_(i + C/G) + b_ki(x) )

With c = 0 this is DY-ReLU-B, whose start it has: a is 1 and the activation's slope, b and c are 0.
The paper has no offsets b (`lambda_b=0`). Its code shifts by one more channel than the C / G of
its formula, and starts some layers at ``c = 1``, which no pretrained activation does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynsurgeon.operators.contract import Shape
from dynsurgeon.operators.lines import upper_of
from dynsurgeon.operators.relu import DynamicReLU, as_dtype
from dynsurgeon.settings import ShiftMaxConfig


class ShiftMax(DynamicReLU):
    """Dynamic Shift-Max: lines a sample and channel over two channels; see `DynamicReLU`."""

    per_channel = True
    default_config = ShiftMaxConfig
    config: ShiftMaxConfig

    def rows(self) -> int:
        """Two slopes a piece, and an offset if there are any."""
        return (2 if self.config.lambda_b == 0 else 3) * self.pieces

    def maximum_of_lines(self, x: Tensor) -> Tensor:
        """Return ``max_k(a_k x + c_k shifted + b_k)``."""
        own, far, offsets = self._coefficients(x)
        shifted = torch.roll(x, -max(self.channels // self.config.groups, 1), 1)
        lines = [a * x + c * shifted for a, c in zip(own, far, strict=True)]
        return upper_of([y + b for y, b in zip(lines, offsets, strict=True)] if offsets else lines)

    def _coefficients(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        delta = 2 * torch.sigmoid(self.theta(x)) - 1
        rows = torch.split(delta.view(-1, self.rows(), self.channels), self.pieces, 1)
        own = self.alpha + self.config.lambda_a * rows[0]
        far = self.config.lambda_a * rows[1]
        found = [own, far, *(self.beta + self.config.lambda_b * b for b in rows[2:])]
        ones = [1] * (x.dim() - 2)
        lists = [list(as_dtype(t.view(*t.shape, *ones), x.dtype).unbind(1)) for t in found]
        return lists[0], lists[1], lists[2] if len(lists) > 2 else []

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        second = self.pieces * self.channels * math.prod(taken[2:])
        return super().added_multiply_adds(taken, given) + second
