"""Dynamic convolution decomposition (arXiv 2103.08756): a constant kernel and a small dynamic one.

    W(x) = L(x) W + P Phi(x) Q          y = L(x) conv(x) + P (Phi(x) (Q x))

L scales the filters, Q takes the channels to a latent space of L_k of them, Phi(x) is a full
``L_k x L_k`` matrix for each sample, and P takes them back. L starts at exactly 1 and Phi at 0, so
the layer starts at the convolution, bit for bit.

The authors' code adds BatchNorm to the latent maps, a second gate to the head, and ``P Q x`` beside
``P Phi Q x``; with these no exact start is possible, and their formula has neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.operators.answers import Head
from dynsurgeon.operators.attention import global_average, scaled, squeeze_layer, zero_layer
from dynsurgeon.operators.constant import ConstantConvolution, doubled_sigmoid
from dynsurgeon.operators.contract import Shape, StaticConv
from dynsurgeon.operators.scale import THETA_REACH
from dynsurgeon.settings import DCDConfig

PHI_REACH = 0.5
"""An entry of Phi by which the residual becomes a good part of the output."""


class DecomposedConv(ConstantConvolution):
    """A convolution with a dynamic residual in a latent space; see `ConstantConvolution`.

    Args:
        static: The convolution that it starts from; no transposed one.
        config: Rank, and how wide the hidden layer is.
    """

    learned = "filter scales or a residual"

    def __init__(self, static: StaticConv, config: DCDConfig | None = None) -> None:
        super().__init__(static)
        config = config or DCDConfig()
        self.rank = config.rank or max(math.isqrt(self.in_channels), 1)
        self.fc1 = squeeze_layer(self.in_channels, config.reduction, **self.factory)
        hidden = self.fc1.out_features
        self.fc_filters = zero_layer(hidden, self.out_channels, **self.factory)
        self.fc_phi = zero_layer(hidden, self.rank**2, **self.factory)
        self.q = nn.Linear(self.in_channels, self.rank, bias=False, **self.factory)
        self.p = nn.Linear(self.rank, self.out_channels, bias=False, **self.factory)
        self.learn_like(static)

    def compute(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.fc1(global_average(x)))
        filters = doubled_sigmoid(self.fc_filters(hidden))
        phi = self.fc_phi(hidden).view(-1, self.rank, self.rank)
        y = self.convolve(x)
        latent = F.conv1d(self._centres(x).flatten(2), self.q.weight.unsqueeze(-1))
        latent = torch.matmul(phi.to(latent.dtype), latent)
        residual = F.conv1d(latent, self.p.weight.unsqueeze(-1)).view_as(y)
        return scaled(y, filters) + residual

    def _centres(self, x: Tensor) -> Tensor:
        """Return the places of `x` that the middle of the kernel lies on, one for each output."""
        x, geometry = self.pad(x), self.geometry
        edges: list[int] = []
        padding = geometry.edge_padding(self.kernel_size)
        for axis in reversed(range(geometry.spatial)):
            left, right = padding[axis]
            middle = geometry.dilation[axis] * ((self.kernel_size[axis] - 1) // 2)
            reach = geometry.dilation[axis] * (self.kernel_size[axis] - 1)
            edges += [left - middle, right - (reach - middle)]  # below 0 places are cut off
        x = F.pad(x, edges) if any(edges) else x
        steps = geometry.stride
        for axis, step in enumerate(steps):
            if step > 1:
                x = x[(slice(None),) * (axis + 2) + (slice(None, None, step),)]
        return x

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        hidden = torch.relu(self.fc1(global_average(x)))
        filters = doubled_sigmoid(self.fc_filters(hidden))
        return {"factors of filters": filters, "residual matrix": self.fc_phi(hidden)}

    def heads(self) -> Iterable[Head]:
        yield Head(self.fc_filters, THETA_REACH, self.fc1)
        yield Head(self.fc_phi, PHI_REACH, self.fc1, channels=self.out_channels)

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        layers = (self.fc1, self.fc_filters, self.fc_phi)
        head = math.prod(taken[1:]) + sum(layer.weight.numel() for layer in layers)
        latent = self.q.weight.numel() + self.rank**2 + self.p.weight.numel()
        return head + (latent + self.out_channels) * math.prod(given[2:])


LAYERS = dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), DecomposedConv)
"""A transposed convolution has no place in its input for each of its output."""
