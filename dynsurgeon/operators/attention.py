"""The small network that decides, for each sample, how to weigh the kernels.

    pi = softmax(fc2(relu(fc1(gap(x)))) / tau)          (arXiv 1912.03458, section 3.3)

There is no BatchNorm in it: with one, training at batch 1 fails.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dynsurgeon.operators.answers import HIDDEN_FLOOR


def hidden_width(channels: int, reduction: int) -> int:
    """Width of a squeeze layer: ``channels // reduction``, never below `HIDDEN_FLOOR`."""
    return max(channels // reduction, HIDDEN_FLOOR)


def squeeze_layer(
    channels: int,
    reduction: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Linear:
    """Build the layer to the hidden width, its units drawn in opposite pairs.

    After the ReLU one of each pair is alive, whatever comes in. Four units drawn one by one are all
    dead for an average near zero in 1 of 16 layers, and then never get a gradient.
    """
    layer = nn.Linear(channels, hidden_width(channels, reduction), device=device, dtype=dtype)
    half = layer.out_features // 2
    with torch.no_grad():
        for tensor in (layer.weight, layer.bias):
            tensor[half : 2 * half] = -tensor[:half]
    return layer


def zero_layer(
    inputs: int,
    outputs: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Linear:
    """Build the last layer of a head: all zeros, so that the head says nothing at the start."""
    layer = nn.Linear(inputs, outputs, device=device, dtype=dtype)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def global_average(x: Tensor) -> Tensor:
    """Average ``(N, C, *spatial)`` over all its spatial axes to ``(N, C)``."""
    return x.mean(dim=tuple(range(2, x.dim()))) if x.dim() > 2 else x


def scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Multiply maps ``(N, C, *spatial)`` by a number a sample and channel ``(N, C)``."""
    return x * scale.view(*scale.shape, *[1] * (x.dim() - 2)).to(x.dtype)


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
        self.fc1 = squeeze_layer(in_channels, reduction, device, dtype)
        self.fc2 = nn.Linear(self.fc1.out_features, experts, device=device, dtype=dtype)
        self.register_buffer("temperature", torch.tensor(temperature, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.fc1(global_average(x)))
        return torch.softmax(self.fc2(hidden) / self.temperature, dim=1)

    def multiply_adds(self, positions: int) -> int:
        """Multiply-adds a sample, pooling over `positions` places included."""
        width, hidden, experts = self.fc1.in_features, self.fc1.out_features, self.fc2.out_features
        return width * positions + width * hidden + hidden * experts
