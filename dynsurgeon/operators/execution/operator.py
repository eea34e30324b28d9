"""Lean algorithms as operators of `torch.library`: ``dynsurgeon::lean_conv`` and its backward.

The compiler calls them as they are. A geometry travels as a list of integers, an algorithm by its
name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import (
    BY_NAME,
    LeanAlgorithm,
    Needs,
    Operands,
    layout_of,
)
from dynsurgeon.operators.geometry import ConvGeometry


def call(
    algorithm: LeanAlgorithm, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
) -> Tensor:
    """Run a lean algorithm as one operator of the graph that is being compiled."""
    y: Tensor
    y, _ = lean_conv(x, pi, weight, algorithm.name, numbers_of(geometry, weight))
    return y


@torch.library.custom_op("dynsurgeon::lean_conv", mutates_args=())
def lean_conv(
    x: Tensor, pi: Tensor, weight: Tensor, algorithm: str, geometry: list[int]
) -> tuple[Tensor, Tensor]:
    """Return the output and what the algorithm keeps, empty where that is nothing."""
    y, kept = BY_NAME[algorithm].output(x, pi, weight, _geometry(geometry, weight))
    return y, x.new_empty(0) if kept is None else kept


@lean_conv.register_fake
def _(
    x: Tensor, pi: Tensor, weight: Tensor, algorithm: str, geometry: list[int]
) -> tuple[Tensor, Tensor]:
    known = _geometry(geometry, weight)
    sizes = known.out_sizes(x, weight)
    layout: Any = {"memory_format": layout_of(x), "dtype": x.dtype, "device": x.device}
    y = torch.empty((x.shape[0], known.out_channels(weight[0]), *sizes), **layout)
    channels = BY_NAME[algorithm].kept_channels(weight, known)
    return y, torch.empty((x.shape[0], channels, *sizes), **layout) if channels else x.new_empty(0)


@torch.library.custom_op("dynsurgeon::lean_conv_backward", mutates_args=())
def lean_conv_backward(
    grad: Tensor,
    x: Tensor,
    pi: Tensor,
    weight: Tensor,
    kept: Tensor,
    algorithm: str,
    geometry: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, attention and bank."""
    of = Operands(x, pi, weight, _geometry(geometry, weight))
    needs = Needs(x=True, pi=True, weight=True)
    by_x, by_pi, by_weight = BY_NAME[algorithm].gradients(
        grad, of, kept if kept.numel() else None, needs
    )
    assert by_x is not None
    assert by_pi is not None
    assert by_weight is not None
    return _like(by_x, x), by_pi.contiguous(), by_weight.contiguous()


@lean_conv_backward.register_fake
def _(
    grad: Tensor, x: Tensor, pi: Tensor, weight: Tensor, kept: Tensor, algorithm: str, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=layout_of(x)),
        torch.empty_like(pi, memory_format=torch.contiguous_format),
        torch.empty_like(weight, memory_format=torch.contiguous_format),
    )


def _like(grad: Tensor, x: Tensor) -> Tensor:
    return grad.contiguous(memory_format=layout_of(x))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, pi, weight, *ctx.others = inputs
    ctx.save_for_backward(x, pi, weight, output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    grads = lean_conv_backward(grad, *ctx.saved_tensors, *ctx.others)
    return *grads, *[None] * len(ctx.others)


lean_conv.register_autograd(_backward, setup_context=_keep)


def numbers_of(geometry: ConvGeometry, weight: Tensor) -> list[int]:
    """Return a geometry as a list that `_geometry` reads."""
    padding = geometry.int_padding(weight.shape[-geometry.spatial :])
    by_axis = (geometry.stride, padding, geometry.dilation, geometry.output_padding)
    return [geometry.groups, int(geometry.transposed), *(n for values in by_axis for n in values)]


def _geometry(numbers: list[int], weight: Tensor) -> ConvGeometry:
    groups, transposed, *by_axis = numbers
    spatial = weight.dim() - 3
    stride, padding, dilation, output_padding = (
        tuple(by_axis[i * spatial : (i + 1) * spatial]) for i in range(4)
    )
    return ConvGeometry(
        spatial=spatial,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        transposed=bool(transposed),
        output_padding=output_padding,
    )
