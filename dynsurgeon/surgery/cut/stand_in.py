"""A dynamic convolution that poses as a static one, while foreign code folds a BatchNorm into it.

Such code computes ``W' = s W`` and ``b' = s b + t`` for each output channel. Of a bank of kernels
it would take the first axis for the channels. So it is shown kernels that tell s and t, and the
bank gets them afterwards: as the attention sums to 1, folding into every kernel and bias is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.operators import DynamicConv
from dynsurgeon.operators.contract import StaticConv

ROUNDINGS = 64
"""A fold may be off by this many units in the last place."""


@dataclass(frozen=True)
class Numbers:
    """The parameters of a static convolution."""

    weight: Tensor
    bias: Tensor | None


class StandIn:
    """Turns a dynamic convolution into a static one, in place, and back.

    Args:
        conv: The dynamic convolution; whoever holds it goes on holding it.
    """

    def __init__(self, conv: DynamicConv) -> None:
        self.conv: nn.Module = conv
        self.experts, self.trained = conv.experts, conv.weight.requires_grad
        self._kind, self._vars = type(conv), dict(vars(conv))
        self._static = _static_like(conv)

    def pose(self) -> None:
        """Become static. The numbers are there to be set by `show`."""
        vars(self.conv).clear()
        vars(self.conv).update(vars(self._static))
        self.conv.__class__ = type(self._static)

    def show(self, numbers: Numbers) -> None:
        """Set the numbers that the fold will see."""
        with torch.no_grad():
            self._static.weight.copy_(numbers.weight)
            if self._static.bias is not None and numbers.bias is not None:
                self._static.bias.copy_(numbers.bias)

    def recover(self) -> None:
        """Become the dynamic convolution again, as it was."""
        vars(self.conv).clear()
        vars(self.conv).update(self._vars)
        self.conv.__class__ = self._kind

    def ones(self) -> Numbers:
        """Return the numbers under which a fold shows s and t: W = 1 and b = 0."""
        bias = self._static.bias
        return Numbers(
            torch.ones_like(self._static.weight), None if bias is None else torch.zeros_like(bias)
        )

    def nans(self) -> Numbers:
        """Return numbers that leave a trace in whatever is computed from them."""
        one = self.ones()
        bias = None if one.bias is None else torch.full_like(one.bias, torch.nan)
        return Numbers(torch.full_like(one.weight, torch.nan), bias)

    def drawn(self, generator: torch.Generator) -> Numbers:
        """Return random numbers in [1, 2), which tell a scale from any other change."""
        one = self.ones()
        bias = None if one.bias is None else 1 + _uniform(one.bias, generator)
        return Numbers(1 + _uniform(one.weight, generator), bias)

    def fold_of(self, ones: Numbers, shown: Numbers, became: Numbers) -> Numbers | None:
        """Return s, as a kernel, and t; None if something else was done.

        Args:
            ones: What became of `ones`.
            shown: Other numbers, from `drawn`.
            became: What became of them.
        """
        rows = self._by_output(ones.weight)
        scale = rows[:, 0]
        none = torch.zeros_like(scale)
        shift, start, end = (none if n.bias is None else n.bias for n in (ones, shown, became))
        known = (
            torch.equal(rows, scale[:, None].expand_as(rows))
            and _close(became.weight, ones.weight * shown.weight)
            and _close(end, scale * start + shift)
        )
        return ones if known else None

    @torch.no_grad()
    def take(self, fold: Numbers, *, trained: bool) -> None:
        """Apply a fold to the bank of the dynamic convolution, which has recovered."""
        conv: Any = self.conv
        conv.weight.mul_(fold.weight)
        if fold.bias is not None:
            scale = self._by_output(fold.weight)[:, 0]
            if conv.bias is None:
                bank = fold.bias.repeat(self.experts, 1)
                conv.bias = nn.Parameter(bank, requires_grad=self.trained)
            else:
                conv.bias.mul_(scale).add_(fold.bias)
        if self.trained and not trained:
            conv.requires_grad_(False)

    def _by_output(self, weight: Tensor) -> Tensor:
        static = self._static
        if not static.transposed:
            return weight.flatten(1)
        rows = weight.view(static.groups, -1, *weight.shape[1:]).transpose(1, 2)
        return rows.reshape(static.out_channels, -1)


def numbers_of(module: nn.Module | None, like: StandIn) -> Numbers | None:
    """Return the numbers of the static convolution that `module` is, or None if it is none such."""
    static = like._static
    if not isinstance(module, StaticConv) or type(module) is not type(static):
        return None
    if _geometry(module) != _geometry(static):
        return None
    bias = None if module.bias is None else module.bias.detach().clone()
    return Numbers(module.weight.detach().clone(), bias)


def _static_like(conv: DynamicConv) -> StaticConv:
    arguments: dict[str, Any] = {
        name: getattr(conv, name)
        for name in ("stride", "padding", "dilation", "groups", "padding_mode")
    }
    if conv.transposed:
        arguments["output_padding"] = conv.output_padding
    build: Any = conv.static_class
    bank = conv.weight
    with torch.device("meta"):
        static = build(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            bias=conv.bias is not None,
            dtype=bank.dtype,
            **arguments,
        )
    static.to_empty(device=bank.device).requires_grad_(bank.requires_grad)
    static.train(conv.training)
    checked: StaticConv = static
    return checked


def _geometry(conv: StaticConv) -> tuple[Any, ...]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation")
    further = ("groups", "padding_mode", "transposed", "output_padding")
    return tuple(getattr(conv, name) for name in (*names, *further))


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(like.shape, generator=generator, dtype=torch.float32)
    return drawn.to(like)


def _close(found: Tensor, expected: Tensor) -> bool:
    tolerance = ROUNDINGS * torch.finfo(found.dtype).eps
    largest = float(expected.abs().max())
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance * largest)
