"""Slow references for the operators: one sample at a time, in plain loops.

They read a module's parameters, buffers and settings, and share no code with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import product
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.operators import DynamicConv, DynamicReLU, DynamicReLUC, KernelAttention

Edges: TypeAlias = list[tuple[int, int]]

PAD_INDEX: dict[str, Callable[[int, int], int | None]] = {
    "zeros": lambda i, size: i if 0 <= i < size else None,
    "reflect": lambda i, size: size - 1 - abs(size - 1 - abs(i)),
    "replicate": lambda i, size: min(max(i, 0), size - 1),
    "circular": lambda i, size: i % size,
}
"""Where a place outside the map reads from, or None for a zero."""

STATIC: dict[tuple[int, bool], Callable[..., Tensor]] = {
    (1, False): F.conv1d,
    (2, False): F.conv2d,
    (3, False): F.conv3d,
    (1, True): F.conv_transpose1d,
    (2, True): F.conv_transpose2d,
    (3, True): F.conv_transpose3d,
}


def deviation(actual: Tensor, expected: Tensor, floor: float = 1e-30) -> float:
    """Return the largest difference relative to the largest expected number, or to `floor`."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} is not {tuple(expected.shape)}"
    if expected.numel() == 0:
        return 0.0
    actual, expected = actual.detach().double(), expected.detach().double()
    difference = (actual - expected).abs().max()
    return float(difference / expected.abs().max().clamp(min=floor))


def reference_attention(attention: KernelAttention, sample: Tensor) -> Tensor:
    """Return pi ``(K,)`` of one sample ``(C, *spatial)``."""
    hidden = _squeeze(attention.fc1, sample)
    logits = _linear(attention.fc2, hidden) / attention.temperature
    exponentials = [torch.exp(z - logits.max()) for z in logits]
    return torch.stack([e / sum(exponentials) for e in exponentials])


def reference_dynamic_conv(module: DynamicConv, x: Tensor) -> Tensor:
    """Convolve each sample of ``(N, C, *spatial)`` with the kernel mixed for it alone."""
    return torch.stack([_convolve_sample(module, sample) for sample in x])


def mixed_kernel(module: DynamicConv, pi: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return ``sum_k pi_k W_k`` and ``sum_k pi_k b_k``."""
    weight = torch.zeros_like(module.weight[0])
    bias = None if module.bias is None else torch.zeros_like(module.bias[0])
    for k in range(module.weight.shape[0]):
        weight = weight + pi[k] * module.weight[k]
        if module.bias is not None and bias is not None:
            bias = bias + pi[k] * module.bias[k]
    return weight, bias


def padding_edges(module: DynamicConv) -> Edges:
    """Return what is padded before and after each axis, with "same" and "valid" spelled out."""
    if module.padding == "same":
        totals = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    if isinstance(module.padding, str):
        return [(0, 0) for _ in module.kernel_size]
    return [(padding, padding) for padding in module.padding]


def pad_by_loops(sample: Tensor, edges: Edges, mode: str) -> Tensor:
    """Pad ``(C, *spatial)`` axis by axis, one slice at a time."""
    for axis, (before, after) in enumerate(edges, start=1):
        size = sample.shape[axis]
        slices = []
        for i in range(-before, size + after):
            source = PAD_INDEX[mode](i, size)
            zero = torch.zeros_like(sample.select(axis, 0))
            slices.append(zero if source is None else sample.select(axis, source))
        sample = torch.stack(slices, dim=axis)
    return sample


def convolve_by_loops(module: DynamicConv, sample: Tensor, weight: Tensor) -> Tensor:
    """Convolve ``(C, *spatial)`` with one kernel, number by number and without a bias."""
    if module.transposed:
        return _transposed_by_loops(module, sample, weight)
    padded = pad_by_loops(sample, padding_edges(module), module.padding_mode)
    steps, reach = module.stride, module.dilation
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(padded.shape[1:], weight.shape[2:], steps, reach, strict=True)
    ]
    y = torch.zeros(weight.shape[0], *sizes, dtype=sample.dtype)
    per_group = weight.shape[0] // module.groups
    for out, place in product(range(weight.shape[0]), _places(sizes)):
        for c, tap in product(range(weight.shape[1]), _places(weight.shape[2:])):
            source = (p * s + t * d for p, s, t, d in zip(place, steps, tap, reach, strict=True))
            channel = out // per_group * weight.shape[1] + c
            y[out, *place] += weight[out, c, *tap] * padded[channel, *source]
    return y


def reference_dynamic_relu(module: DynamicReLU, x: Tensor) -> Tensor:
    """Apply each sample's and channel's own lines to ``(N, C, *spatial)``, piece by piece."""
    samples = []
    for sample in x:
        theta = _linear(module.fc2, _squeeze(module.fc1, sample))
        shares = _spatial_shares(module, sample)
        channels = [_lines(module, theta, c, sample[c], shares) for c in range(sample.shape[0])]
        samples.append(torch.stack(channels))
    return torch.stack(samples)


def _convolve_sample(module: DynamicConv, sample: Tensor) -> Tensor:
    weight, bias = mixed_kernel(module, reference_attention(module.attention, sample))
    run = STATIC[sample.dim() - 1, module.transposed]
    settings = {"stride": module.stride, "dilation": module.dilation, "groups": module.groups}
    if module.transposed:
        settings |= {"padding": module.padding, "output_padding": module.output_padding}
    else:
        sample = pad_by_loops(sample, padding_edges(module), module.padding_mode)
    return run(sample.unsqueeze(0), weight, bias, **settings).squeeze(0)


def _transposed_by_loops(module: DynamicConv, sample: Tensor, weight: Tensor) -> Tensor:
    assert not isinstance(module.padding, str)
    settings = (module.stride, module.padding, module.dilation, module.output_padding)
    axes = list(zip(sample.shape[1:], weight.shape[2:], *settings, strict=True))
    sizes = [(n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in axes]
    y = torch.zeros(weight.shape[1] * module.groups, *sizes, dtype=sample.dtype)
    per_group = sample.shape[0] // module.groups
    for c, place in product(range(sample.shape[0]), _places(sample.shape[1:])):
        for out, tap in product(range(weight.shape[1]), _places(weight.shape[2:])):
            target = [
                i * s + t * d - p for i, t, (_, _, s, p, d, _) in zip(place, tap, axes, strict=True)
            ]
            if all(0 <= i < size for i, size in zip(target, sizes, strict=True)):
                channel = c // per_group * weight.shape[1] + out
                y[channel, *target] += weight[c, out, *tap] * sample[c, *place]
    return y


def _lines(module: DynamicReLU, theta: Tensor, c: int, x: Tensor, shares: Tensor) -> Tensor:
    shared = theta.numel() == 2 * module.pieces
    width, column = (1, 0) if shared else (module.channels, c)
    best = torch.full_like(x, -math.inf)
    for k in range(module.pieces):
        delta_a = 2 * torch.sigmoid(theta[k * width + column]) - 1
        delta_b = 2 * torch.sigmoid(theta[(module.pieces + k) * width + column]) - 1
        a = _of_channel(module.alpha[k], c) + module.config.lambda_a * delta_a
        b = _of_channel(module.beta[k], c) + module.config.lambda_b * delta_b
        best = torch.maximum(best, shares * a * x + shares * b)
    if module.form.ceiling is not None:
        best = torch.where(best > module.form.ceiling, module.form.ceiling, best)
    if module.form.function in SMOOTH:
        return SMOOTH[module.form.function](x) + best - torch.where(x > 0, x, 0.0)
    if any(slope > 1 for slope in module.form.slopes):
        own = x.new_tensor(module.form.slopes) if module.weight is None else module.weight
        return torch.where(x > 0, x, own[c % len(own)] * x) + best - torch.where(x > 0, x, 0.0)
    return best


SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "hardswish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
}


def _spatial_shares(module: DynamicReLU, sample: Tensor) -> Tensor:
    """Return pi ``(*spatial)`` of kind C, or ones."""
    if not isinstance(module, DynamicReLUC):
        return torch.ones(sample.shape[1:], dtype=sample.dtype)
    z = torch.zeros(sample.shape[1:], dtype=sample.dtype) + module.spatial.bias[0]
    for c in range(sample.shape[0]):
        z = z + module.spatial.weight[0, c] * sample[c]
    exponentials = torch.exp((z - z.max()) / module.temperature)
    gamma = sample[0].numel() / 3
    return torch.minimum(gamma * exponentials / exponentials.sum(), torch.ones_like(z))


def _squeeze(layer: nn.Linear, sample: Tensor) -> Tensor:
    means = torch.stack([channel.sum() / channel.numel() for channel in sample])
    return torch.relu(_linear(layer, means))


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    rows = zip(layer.weight, layer.bias, strict=True)
    return torch.stack([(weights * x).sum() + bias for weights, bias in rows])


def _of_channel(start: Tensor, c: int) -> Tensor:
    return start[c] if start.numel() > 1 else start[0]


def _places(sizes: Iterable[int]) -> Iterable[tuple[int, ...]]:
    return product(*(range(size) for size in sizes))
