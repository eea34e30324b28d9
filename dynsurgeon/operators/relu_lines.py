"""What DY-ReLU computes: a maximum of lines whose slopes and offsets a head says for each sample.

theta   = fc2(relu(fc1(gap(x))))              delta = 2 sigmoid(theta) - 1
a_k     = alpha_k + lambda_a delta_a,k        b_k   = beta_k + lambda_b delta_b,k
y       = max_k(a_k x + b_k)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.operators.activating import ActivatingLayer
from dynsurgeon.operators.attention import global_average
from dynsurgeon.operators.execution.context import is_exporting
from dynsurgeon.operators.forced import Forced
from dynsurgeon.operators.lines import maximum_of_lines
from dynsurgeon.settings import DynamicReLUConfig, ShiftMaxConfig

LinesConfig: TypeAlias = DynamicReLUConfig | ShiftMaxConfig

Lines: TypeAlias = Callable[["LinesLayer", Tensor], Tensor]

forced_lines: Forced[Lines] = Forced("dynsurgeon_forced_lines")
"""Computes every maximum of lines in its context by one function: for export."""


class LinesLayer(ActivatingLayer):
    """A layer that computes a maximum of lines.

    Attributes:
        config: Reach of slopes and offsets.
        pieces: Number of lines K.
        alpha: Start of the slopes ``(K, 1)`` or ``(K, C)``.
        beta: Start of the offsets, likewise.
        weight: Of a PReLU with slopes above 1 the slopes, which go on being trained; else None.
        shift: How many channels further on each line reads a second one; None if it reads none.
        start_scale: What the slopes are divided by after the maximum.
    """

    start_scale: ClassVar[float] = 1.0
    shift: int | None = None
    config: LinesConfig
    pieces: int
    alpha: Tensor
    beta: Tensor
    weight: nn.Parameter | None
    fc1: nn.Linear
    fc2: nn.Linear

    def rows(self) -> int:
        """Numbers that the head gives for each channel: a slope and an offset a piece."""
        return 2 * self.pieces

    def activate(self, x: Tensor) -> Tensor:
        return self.finish(x, self.maximum_of_lines(x))

    def finish(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the activation of `x` from its maximum of lines `y`, both ``(N, C, …)``."""
        if self.form.ceiling is not None:
            return capped(y, self.form.ceiling)
        if not self.form.beside:
            return y
        slopes = None if self.weight is None else as_dtype(self.weight, x.dtype)
        return self.form.compute(x, slopes) + (y - torch.relu(x))

    def maximum_of_lines(self, x: Tensor) -> Tensor:
        """Return ``max_k(a_k x + b_k)``."""
        if (lines := forced_lines.get()) is not None:
            return lines(self, x)
        return self.compute_lines(x)

    def compute_lines(self, x: Tensor) -> Tensor:
        """Compute the maximum of lines here, whatever `forced_lines` says."""
        slopes, offsets = self.coefficients(x)
        return maximum_of_lines(x, slopes, offsets)

    def theta(self, x: Tensor) -> Tensor:
        """Return what the head says of `x`: ``(N, 2 K C)``, or ``(N, 2 K)`` of kind A."""
        theta: Tensor = self.fc2(torch.relu(self.fc1(global_average(x))))
        return theta

    def coefficients(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the K slopes and the K offsets for `x`, each broadcastable against it."""
        by_slope, by_offset = self.deltas(x)
        slopes = self.alpha + self.config.lambda_a * by_slope
        offsets = self.beta + self.config.lambda_b * by_offset
        return beside(x, slopes), beside(x, offsets)

    def deltas(self, x: Tensor) -> Sequence[Tensor]:
        """Return what the head says of `x` in (-1, 1), ``(N, K, C)`` for each kind of number."""
        delta = 2 * torch.sigmoid(self.theta(x)) - 1
        width = self.fc2.out_features // self.rows()
        return torch.split(delta.view(-1, self.rows(), width), self.pieces, 1)

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        by_slope, by_offset = self.deltas(x)
        slopes = self.alpha + self.config.lambda_a * by_slope
        offsets = self.beta + self.config.lambda_b * by_offset
        return {"slopes": slopes / self.start_scale, "offsets": offsets / self.start_scale}

    def curves(self, x: Tensor, signals: Mapping[str, Tensor]) -> Tensor | None:
        slopes, offsets = signals["slopes"], signals["offsets"]
        y = (slopes.unsqueeze(-1) * x + offsets.unsqueeze(-1)).amax(1)
        return self.finish(x.expand_as(y), y)


def beside(x: Tensor, rows: Tensor) -> list[Tensor]:
    """Return K rows of numbers a channel ``(N, K, C)``, each broadcastable against `x`."""
    # Under autocast the lines are in single precision, but an activation keeps its input's.
    rows = as_dtype(rows.view(*rows.shape, *[1] * (x.dim() - 2)), x.dtype)
    return list(rows.unbind(1))


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast where there is something to cast: an exported graph would keep a cast to the same."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def capped(y: Tensor, ceiling: float) -> Tensor:
    """Return ``min(y, ceiling)``, with no gradient at the ceiling itself, as a static ReLU6."""
    if is_exporting():
        return y.clamp(max=ceiling)
    return F.hardtanh(y, -torch.inf, ceiling)
