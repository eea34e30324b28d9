"""One layer as it lies in a network, static and dynamic: what a site's latency is measured on.

A layer alone would flatter the dynamic one. In a network a static convolution keeps onnxruntime's
blocked layout from layer to layer and takes its activation with it, and a dynamic layer may break
both. So the layer lies between two thin static convolutions here, that are the same in both.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.operators.contract import StaticConv
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.surgery.cut.build import build_layer
from dynsurgeon.surgery.decide.draft import Variant

THIN = 8
"""Channels on the outer side of the two static convolutions."""

Shape = tuple[int, ...]


class Excerpt(nn.Module):
    """A static convolution, the layer, and a static convolution.

    Args:
        layer: The layer in the middle.
        channels: What it takes and what it gives.
        spatial: Number of spatial axes, 0 to 3; the outer layers are linear at 0.
    """

    def __init__(self, layer: nn.Module, channels: tuple[int, int], spatial: int) -> None:
        super().__init__()
        self.enter = _thin(THIN, channels[0], spatial)
        self.layer = layer
        self.leave = _thin(channels[1], THIN, spatial)

    def forward(self, x: Tensor) -> Tensor:
        """Run all three: ``(N, THIN, *spatial)`` to the same with the layer's map."""
        y: Tensor = self.leave(self.layer(self.enter(x)))
        return y


def static_excerpt(variant: Variant, shape: Shape) -> Excerpt:
    """Put the static layer of a variant, with an input of that shape, into an excerpt."""
    layer = variant.static
    if isinstance(layer, StaticConv):
        return Excerpt(_on_cpu(layer), _conv_channels(layer), len(shape) - 2)
    if layer is None:
        layer = static_activation(ActivationForm(**(variant.recipe.form or {})))
    return Excerpt(_on_cpu(layer), (shape[1], shape[1]), len(shape) - 2)


def dynamic_excerpt(variant: Variant, shape: Shape) -> Excerpt:
    """Put the dynamic layer of a variant into an excerpt."""
    static = None if variant.static is None else _on_cpu(variant.static)
    layer = build_layer(variant.recipe, static, "cpu")
    ends = _conv_channels(static) if isinstance(static, StaticConv) else (shape[1], shape[1])
    return Excerpt(layer, ends, len(shape) - 2)


def excerpt_input(shape: Shape) -> Tensor:
    """Return one sample for an excerpt of a layer whose input has that shape."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, THIN, *shape[2:], generator=generator)


def static_activation(form: ActivationForm) -> nn.Module:
    """Build the module that a static activation amounts to."""
    if form.function == "prelu":
        slopes = torch.as_tensor(form.slope).reshape(-1)
        module = nn.PReLU(len(slopes))
        module.weight.data.copy_(slopes)
        return module
    builders: dict[str, Any] = {
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "leaky_relu": lambda: nn.LeakyReLU(float(form.slope)),  # type: ignore[arg-type]
        "hardswish": nn.Hardswish,
        "silu": nn.SiLU,
        "gelu": lambda: nn.GELU(**form.options),
    }
    built: nn.Module = builders[form.function]()
    return built


def _thin(inputs: int, outputs: int, spatial: int) -> nn.Module:
    if spatial == 0:
        return nn.Linear(inputs, outputs)
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[spatial - 1]
    return kind(inputs, outputs, 1)


def _conv_channels(conv: StaticConv) -> tuple[int, int]:
    return conv.in_channels, conv.out_channels


def _on_cpu(layer: nn.Module) -> nn.Module:
    # Hooks stay behind with the layer: they may look at the network around it.
    twin = copy.deepcopy(layer).cpu()
    for hooks in (twin._forward_hooks, twin._forward_pre_hooks):
        hooks.clear()
    return twin
