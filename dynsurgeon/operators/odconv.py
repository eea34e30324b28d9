"""Omni-dimensional dynamic convolution (arXiv 2209.07947).

    W(x) = sum_k a_k(x) * a_f(x) a_c(x) a_s(x) W_k

a_k is dynamic convolution's softmax over kernels, the others are ``2 sigmoid`` of one hidden layer:
a filter's, an input channel's, and a place's of the kernel, exactly 1 at the start. Filters and
channels are scaled on the maps, as the authors' code does it; with ``space=False`` and one kernel
the kernel is a constant, and `ScaledConv` is what that is.

The authors' code shares the hidden layer with a_k, lets a temperature flatten the sigmoids, starts
them at 1/2, leaves out a_f in depthwise layers, and puts a BatchNorm into the head, which fails in
training at batch 1. None of this is here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dynsurgeon.operators.answers import Head
from dynsurgeon.operators.attention import (
    global_average,
    scaled,
    squeeze_layer,
    zero_layer,
)
from dynsurgeon.operators.constant import doubled_sigmoid
from dynsurgeon.operators.contract import Shape, StaticConv
from dynsurgeon.operators.execution import run_dynamic_convolution
from dynsurgeon.operators.execution.context import is_exporting
from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.execution.places import run_with_places
from dynsurgeon.operators.execution.places_export import one_kernel_in_a_graph
from dynsurgeon.operators.mixture import KernelMixture
from dynsurgeon.operators.scale import THETA_REACH
from dynsurgeon.settings import ODConvConfig


class ODConv(KernelMixture):
    """Omni-dimensional dynamic convolution.

    Args:
        static: The convolution that it starts from.
        config: How many kernels, and which factors.
    """

    def __init__(self, static: StaticConv, config: ODConvConfig | None = None) -> None:
        super().__init__()
        config = config or ODConvConfig()
        self.experts = config.experts
        self.copy_geometry(static)
        self.fill_banks(static)
        self._build_heads(config)
        self.learn_like(static)

    def _build_heads(self, config: ODConvConfig) -> None:
        device, dtype = self.weight.device, self.weight.dtype
        if self.experts > 1:
            self.build_attention(config, device, dtype)
        places = math.prod(self.kernel_size)
        wanted = {
            "fc_filters": self.out_channels if config.filters else 0,
            "fc_channels": self.in_channels if config.channels else 0,
            "fc_places": places if config.space and places > 1 else 0,
        }
        self.fc1 = None
        if any(wanted.values()):
            self.fc1 = squeeze_layer(self.in_channels, config.reduction, device, dtype)
        for name, size in wanted.items():
            hidden = 0 if self.fc1 is None else self.fc1.out_features
            self.register_module(name, zero_layer(hidden, size, device, dtype) if size else None)

    def compute(self, x: Tensor) -> Tensor:
        pi = self.attention(x) if self.mixes else x.new_ones(x.shape[0], 1)
        scales = self._scales(x)
        channels, places = scales.get("fc_channels"), scales.get("fc_places")
        if places is not None:
            y = self._with_places(x, pi, channels, places)
        else:
            y = self._without_places(x if channels is None else scaled(x, channels), pi)
        return scaled(y, scales["fc_filters"]) if "fc_filters" in scales else y

    def _with_places(
        self, x: Tensor, pi: Tensor, channels: Tensor | None, places: Tensor
    ) -> Tensor:
        if is_exporting() and not self.mixes:
            x = self.pad(x)
            y = one_kernel_in_a_graph(x, channels, places, self.weight[0], self.geometry)
        else:
            x = self.pad(x if channels is None else scaled(x, channels))
            y = run_with_places(x, pi, places, self.weight, self.geometry)
        if self.bias is None:
            return y
        biases = mix(pi, self.bias) if self.mixes else self.bias
        return y + biases.view(-1, self.out_channels, *[1] * self.geometry.spatial).to(y.dtype)

    def _without_places(self, x: Tensor, pi: Tensor) -> Tensor:
        x = self.pad(x)
        if self.mixes:
            return run_dynamic_convolution(x, pi, self.weight, self.bias, self.geometry)
        bias = None if self.bias is None else self.bias[0]
        return self.geometry.convolve(x, self.weight[0], bias, self.geometry.groups)

    def _scales(self, x: Tensor) -> dict[str, Tensor]:
        """Return each factor ``(N, …)`` that there is, by its layer."""
        if self.fc1 is None:
            return {}
        hidden = torch.relu(self.fc1(global_average(x)))
        return {name: doubled_sigmoid(layer(hidden)) for name, layer in self._last_layers()}

    def _last_layers(self) -> Iterable[tuple[str, nn.Linear]]:
        for name in ("fc_filters", "fc_channels", "fc_places"):
            layer = self._modules[name]
            if isinstance(layer, nn.Linear):
                yield name, layer

    @property
    def sample_kernels(self) -> bool:
        return self.mixes or self.fc_places is not None

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        scales = {f"factors of {n.removeprefix('fc_')}": s for n, s in self._scales(x).items()}
        return {**super().signals(x), **scales}

    def heads(self) -> Iterable[Head]:
        yield from super().heads()
        yield from self._scale_heads()

    def _scale_heads(self) -> Iterable[Head]:
        for name, layer in self._last_layers():
            shared = self.out_channels if name == "fc_places" else 1
            yield Head(layer, THETA_REACH, self.fc1, channels=shared)

    def static_obstacle(self) -> str | None:
        moved = any(head.has_moved for head in self._scale_heads())
        return "has scales that depend on its input" if moved else super().static_obstacle()

    @classmethod
    def kernels(cls, config: ODConvConfig) -> int:
        return config.experts if config.experts > 1 or config.space else 0

    @classmethod
    def parts(cls, config: ODConvConfig) -> int:
        return max(config.experts, 2)

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        layers = dict(self._last_layers())
        heads = sum(layer.weight.numel() for layer in layers.values())
        maps = 0 if self.fc1 is None else math.prod(taken[1:]) + self.fc1.weight.numel()
        maps += math.prod(taken[1:]) if "fc_channels" in layers else 0
        maps += math.prod(given[1:]) if "fc_filters" in layers else 0
        maps += self.weight[0].numel() if "fc_places" in layers else 0
        mixing = super().added_multiply_adds(taken, given) if self.mixes else 0
        return mixing + heads + maps
