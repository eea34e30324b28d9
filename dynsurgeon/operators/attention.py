"""The small network that decides, for each sample, how to weigh the kernels.

    pi = softmax(fc2(relu(fc1(gap(x)))) / tau)          (arXiv 1912.03458, section 3.3)

There is no BatchNorm in it: with one, training at batch 1 fails.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN_FLOOR = 4
"""The hidden layer never gets narrower than this, however few channels come in."""


def hidden_width(channels: int, reduction: int) -> int:
    """Width of a squeeze layer: ``channels // reduction``, never below `HIDDEN_FLOOR`."""
    return max(channels // reduction, HIDDEN_FLOOR)


def global_average(x: Tensor) -> Tensor:
    """Average ``(N, C, *spatial)`` over all its spatial axes to ``(N, C)``."""
    return x.mean(dim=tuple(range(2, x.dim()))) if x.dim() > 2 else x


class KernelAttention(nn.Module):
    """Softmax attention over K kernels, one distribution a sample.

    Args:
        in_channels: Channels of the input that is pooled.
        experts: Number of kernels K.
        reduction: The hidden layer has ``in_channels // reduction`` units.
        temperature: tau; a saved buffer, so that a reloaded model computes with the one it had.

    Shape:
        ``(N, C, *spatial)`` to ``(N, K)``; each row sums to 1.
    """

    temperature: Tensor

    def __init__(
        self,
        in_channels: int,
        experts: int,
        *,
        reduction: int = 4,
        temperature: float = 30.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden_width(in_channels, reduction)
        self.fc1 = nn.Linear(in_channels, hidden, device=device, dtype=dtype)
        self.fc2 = nn.Linear(hidden, experts, device=device, dtype=dtype)
        self.register_buffer("temperature", torch.tensor(temperature, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.fc1(global_average(x)))
        return torch.softmax(self.fc2(hidden) / self.temperature, dim=1)

    def multiply_adds(self, positions: int) -> int:
        """Multiply-adds a sample, pooling over `positions` places included."""
        width, hidden, experts = self.fc1.in_features, self.fc1.out_features, self.fc2.out_features
        return width * positions + width * hidden + hidden * experts
