"""Dynamic Shift-Max (MicroNet, arXiv 2108.05894): lines that read another channel too.

    y_i = max_k ( a_ki(x) x_i + c_ki(x) x_(i + C/G) + b_ki(x) )

With c = 0 this is DY-ReLU-B, whose start it has: a is 1 and the activation's slope, b and c are 0.
The paper has no offsets b (`lambda_b=0`). Its code shifts by one more channel than the C / G of
its formula, and starts some layers at ``c = 1``, which no pretrained activation does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from dynsurgeon.operators.contract import Shape
from dynsurgeon.operators.lines import upper_of
from dynsurgeon.operators.relu import DynamicReLU
from dynsurgeon.operators.relu_lines import beside
from dynsurgeon.settings import ShiftMaxConfig


class ShiftMax(DynamicReLU):
    """Dynamic Shift-Max: lines a sample and channel over two channels; see `DynamicReLU`."""

    per_channel = True
    default_config = ShiftMaxConfig
    config: ShiftMaxConfig

    def rows(self) -> int:
        """Two slopes a piece, and an offset if there are any."""
        return (2 if self.config.lambda_b == 0 else 3) * self.pieces

    @property
    def shift(self) -> int:  # type: ignore[override]
        """How many channels further on the second term of each line is: C / G."""
        return max(self.channels // self.config.groups, 1)

    def compute_lines(self, x: Tensor) -> Tensor:
        by_slope, by_far, *by_offset = self.deltas(x)
        own = beside(x, self.alpha + self.config.lambda_a * by_slope)
        far = beside(x, self.config.lambda_a * by_far)
        shifted = torch.roll(x, -self.shift, 1)
        lines = [a * x + c * shifted for a, c in zip(own, far, strict=True)]
        for delta in by_offset:
            offsets = beside(x, self.beta + self.config.lambda_b * delta)
            lines = [y + b for y, b in zip(lines, offsets, strict=True)]
        return upper_of(lines)

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        by_slope, by_far, *by_offset = self.deltas(x)
        reach = self.config.lambda_a
        own = self.alpha + reach * by_slope
        found = {"slopes": own, "slopes of another channel": reach * by_far}
        if by_offset:
            found["offsets"] = self.beta + self.config.lambda_b * by_offset[0]
        return found

    def curves(self, x: Tensor, signals: Mapping[str, Tensor]) -> Tensor | None:
        return None  # each output is one of two channels

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        second = self.pieces * self.channels * math.prod(taken[2:])
        return super().added_multiply_adds(taken, given) + second
