"""A convolution whose channels and filters are scaled for each sample, its kernel constant.

    y = f(x) * conv(c(x) * x)          f, c = 2 sigmoid(fc(relu(fc1(gap(x)))))

These are the filter and channel factors of ODConv at one kernel (arXiv 2209.07947).
Both start at exactly 1. ODConv's own code starts them at 1/2 and normalises the hidden layer with
BatchNorm, which fails at batch 1 in training; there is none here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from dynsurgeon.operators.answers import Head
from dynsurgeon.operators.attention import global_average, scaled, squeeze_layer, zero_layer
from dynsurgeon.operators.constant import ConstantConvolution, doubled_sigmoid
from dynsurgeon.operators.contract import Shape, StaticConv
from dynsurgeon.settings import ScaleConfig

THETA_REACH = 1.0
"""A theta at which a factor is far from 1, and not yet near 0 or 2."""


class ScaledConv(ConstantConvolution):
    """A convolution with factors a channel, a filter, or both; see `ConstantConvolution`.

    Args:
        static: The convolution that it starts from.
        config: Which factors, and how wide the hidden layer is.
    """

    def __init__(self, static: StaticConv, config: ScaleConfig | None = None) -> None:
        super().__init__(static)
        config = config or ScaleConfig()
        self.fc1 = squeeze_layer(self.in_channels, config.reduction, **self.factory)
        hidden = self.fc1.out_features
        self.fc_channels = (
            zero_layer(hidden, self.in_channels, **self.factory) if config.channels else None
        )
        self.fc_filters = (
            zero_layer(hidden, self.out_channels, **self.factory) if config.filters else None
        )
        self.learn_like(static)

    def compute(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.fc1(global_average(x)))
        if self.fc_channels is not None:
            x = scaled(x, doubled_sigmoid(self.fc_channels(hidden)))
        y = self.convolve(x)
        if self.fc_filters is not None:
            y = scaled(y, doubled_sigmoid(self.fc_filters(hidden)))
        return y

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        hidden = torch.relu(self.fc1(global_average(x)))
        layers = {"channels": self.fc_channels, "filters": self.fc_filters}
        return {
            f"factors of {name}": doubled_sigmoid(layer(hidden))
            for name, layer in layers.items()
            if layer is not None
        }

    def heads(self) -> Iterable[Head]:
        for last in (self.fc_channels, self.fc_filters):
            if last is not None:
                yield Head(last, THETA_REACH, self.fc1)

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        heads = sum(head.last.weight.numel() for head in self.heads())
        maps = math.prod(taken[1:]) * (1 if self.fc_channels is None else 2)
        maps += 0 if self.fc_filters is None else math.prod(given[1:])
        return maps + self.fc1.weight.numel() + heads
