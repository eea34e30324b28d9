"""Lean forms as operators of `torch.library`: ``dynsurgeon::lean_conv`` and its backward.

The compiler calls them as they are. A geometry travels as lists of integers, a form by its name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsurgeon.operators.execution.form import BY_NAME, LeanForm, Needs, layout_of
from dynsurgeon.operators.geometry import ConvGeometry


def call(form: LeanForm, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """Run a lean form as one operator of the graph that is being compiled."""
    padding = geometry.int_padding(weight.shape[-geometry.spatial :])
    y: Tensor
    y, _ = lean_conv(
        x, pi, weight, form.name, list(geometry.stride), padding, list(geometry.dilation),
        geometry.groups, geometry.transposed, list(geometry.output_padding),
    )  # fmt: skip
    return y


@torch.library.custom_op("dynsurgeon::lean_conv", mutates_args=())
def lean_conv(
    x: Tensor,
    pi: Tensor,
    weight: Tensor,
    form: str,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    transposed: bool,
    output_padding: list[int],
) -> tuple[Tensor, Tensor]:
    """Return the output and what the form keeps, empty where that is nothing."""
    geometry = _geometry(stride, padding, dilation, groups, transposed, output_padding)
    y, kept = BY_NAME[form].output(x, pi, weight, geometry)
    return y, x.new_empty(0) if kept is None else kept


@lean_conv.register_fake
def _(
    x: Tensor,
    pi: Tensor,
    weight: Tensor,
    form: str,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    transposed: bool,
    output_padding: list[int],
) -> tuple[Tensor, Tensor]:
    geometry = _geometry(stride, padding, dilation, groups, transposed, output_padding)
    sizes = geometry.out_sizes(x, weight)
    layout: Any = {"memory_format": layout_of(x), "dtype": x.dtype, "device": x.device}
    y = torch.empty((x.shape[0], geometry.out_channels(weight[0]), *sizes), **layout)
    channels = BY_NAME[form].kept_channels(weight, geometry)
    return y, torch.empty((x.shape[0], channels, *sizes), **layout) if channels else x.new_empty(0)


@torch.library.custom_op("dynsurgeon::lean_conv_backward", mutates_args=())
def lean_conv_backward(
    grad: Tensor,
    x: Tensor,
    pi: Tensor,
    weight: Tensor,
    kept: Tensor,
    form: str,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    transposed: bool,
    output_padding: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of input, attention and bank."""
    geometry = _geometry(stride, padding, dilation, groups, transposed, output_padding)
    needs = Needs(x=True, pi=True, weight=True)
    by_x, by_pi, by_weight = BY_NAME[form].gradients(
        grad, x, pi, weight, kept if kept.numel() else None, geometry, needs
    )
    assert by_x is not None
    assert by_pi is not None
    assert by_weight is not None
    return _like(by_x, x), by_pi.contiguous(), by_weight.contiguous()


@lean_conv_backward.register_fake
def _(
    grad: Tensor, x: Tensor, pi: Tensor, weight: Tensor, kept: Tensor, form: str, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=layout_of(x)),
        torch.empty_like(pi, memory_format=torch.contiguous_format),
        torch.empty_like(weight, memory_format=torch.contiguous_format),
    )


def _like(grad: Tensor, x: Tensor) -> Tensor:
    return grad.contiguous(memory_format=layout_of(x))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, pi, weight, *ctx.settings = inputs
    ctx.save_for_backward(x, pi, weight, output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    grads = lean_conv_backward(grad, *ctx.saved_tensors, *ctx.settings)
    return *grads, *[None] * len(ctx.settings)


lean_conv.register_autograd(_backward, setup_context=_keep)


def _geometry(
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    groups: int,
    transposed: bool,
    output_padding: list[int],
) -> ConvGeometry:
    return ConvGeometry(
        spatial=len(stride),
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=groups,
        transposed=transposed,
        output_padding=tuple(output_padding),
    )
