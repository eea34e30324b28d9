"""ODConv with one kernel in a graph that is exported: written for the runtimes that read it.

A runtime prepares a constant kernel while it loads, and can't a computed one. So the factors go
into the unfolded input, whose rows are the places of the kernel, wherever that is small: one-hot
kernels unfold it, and a convolution of 1x1 with the constant kernel follows. That holds for every
batch. On larger maps of one sample the factors of channels and places go into the kernel together,
in long runs: onnxruntime multiplies ``(O, C, 3, 3)`` by ``(1, 1, 3, 3)`` nine numbers at a time,
which takes seven times as long.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynsurgeon.operators.attention import scaled
from dynsurgeon.operators.execution.places import place_by_place
from dynsurgeon.operators.execution.places_function import PlacedOperands, kernel_a_sample
from dynsurgeon.operators.geometry import ConvGeometry

SMALL_MAP = 200
"""Places of the output up to which the unfolded input is small beside the kernel. In onnxruntime
the 3x3 layers of resnet18 take 1.1 (7x7), 1.3 (14x14) and 2.4 (28x28) times as long as static
when it is unfolded, and 2.1, 1.5 and 1.3 times with the factors in the kernel (two cores)."""


def one_kernel_in_a_graph(
    x: Tensor, channels: Tensor | None, places: Tensor, weight: Tensor, geometry: ConvGeometry
) -> Tensor:
    """Convolve with one kernel, its input channels and its places scaled for each sample.

    Args:
        x: Input ``(N, C_in, *spatial)``.
        channels: Factors ``(N, C_in)``, or None.
        places: Factors ``(N, S)``.
        weight: The kernel, as the static convolution has it.
        geometry: Stride, padding, dilation, groups.

    Returns:
        ``(N, C_out, *spatial)``, without a bias.
    """
    free = isinstance(x.shape[0], torch.SymInt)
    if not geometry.transposed and (free or _unfolds_small(x, weight, geometry)):
        return _in_unfolded_input(x, _joined(x, channels, places), weight, geometry)
    if not free and x.shape[0] == 1:
        kernel = _scaled_kernel(_joined(x, channels, places), weight, geometry)
        return geometry.convolve(x, kernel, None, geometry.groups)
    x = x if channels is None else scaled(x, channels)
    pi = x.new_ones(x.shape[0], 1)
    of = PlacedOperands(x, pi, places, weight.unsqueeze(0), geometry)
    return place_by_place(of) if free else kernel_a_sample(of)


def _joined(x: Tensor, channels: Tensor | None, places: Tensor) -> Tensor:
    """Return the products of the factors ``(N, C_in, S)``."""
    by_channel = places.unsqueeze(1)
    if channels is None:
        return by_channel.expand(-1, x.shape[1], -1)
    return channels.unsqueeze(2) * by_channel


def _in_unfolded_input(
    x: Tensor, factors: Tensor, weight: Tensor, geometry: ConvGeometry
) -> Tensor:
    one_hot = torch.eye(factors.shape[2], dtype=x.dtype, device=x.device).repeat(x.shape[1], 1)
    unfolded = geometry.convolve(x, one_hot.view(-1, 1, *weight.shape[2:]), None, x.shape[1])
    axes = geometry.spatial
    pointwise = ConvGeometry(axes, (1,) * axes, (0,) * axes, (1,) * axes, geometry.groups)
    flat = weight.reshape(len(weight), -1, *[1] * axes)
    return pointwise.convolve(scaled(unfolded, factors.flatten(1)), flat, None, geometry.groups)


def _scaled_kernel(factors: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """Multiply the kernel ``(C_out, C_in / groups, …)``, or a transposed one."""
    if geometry.transposed:
        return weight * factors.view(-1, 1, *weight.shape[2:])
    by_group = weight.reshape(geometry.groups, len(weight) // geometry.groups, -1)
    return (by_group * factors.reshape(geometry.groups, 1, -1)).view(weight.shape)


def _unfolds_small(x: Tensor, weight: Tensor, geometry: ConvGeometry) -> bool:
    """Whether the unfolded input is small beside the kernel, as it never is to a depthwise one."""
    if not geometry.symmetric(weight.shape[2:]):
        return False
    sizes = geometry.out_sizes(x, weight)
    known = not any(isinstance(size, torch.SymInt) for size in sizes)
    return known and weight.shape[1] > 1 and math.prod(sizes) <= SMALL_MAP
