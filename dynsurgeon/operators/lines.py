"""The maximum of two lines a sample and channel, with a backward that keeps one map.

    y = max(a_1 x + b_1, a_2 x + b_2)

Through autograd this keeps five maps of the size of x. Here the backward asks again which line was
above: with h = 1 where the first is, and 0 elsewhere,

    dx = g (h a_1 + (1 - h) a_2)        da_1 = sum g h x        db_1 = sum g h

and the second line gets what of ``sum g x`` and ``sum g`` the first did not. Where they tie, the
second gets all, as a static ReLU has it at 0; `torch.maximum` would give each half.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from dynsurgeon.operators.execution.context import needs_plain_operators


def maximum_of_lines(x: Tensor, slopes: Sequence[Tensor], offsets: Sequence[Tensor]) -> Tensor:
    """Return ``max_k(a_k x + b_k)``, of the shape of `x`.

    Args:
        x: Input ``(N, C, *spatial)``.
        slopes: K slopes, each broadcastable against `x`.
        offsets: K offsets, the same.
    """
    if _lean_applies(x, slopes):
        y: Tensor = _MaximumOfTwo.apply(x, *slopes, *offsets)
        return y
    # One 2-input maximum after the other: much cheaper than stacking the lines and reducing.
    return reduce(torch.maximum, (a * x + b for a, b in zip(slopes, offsets, strict=True)))


def _lean_applies(x: Tensor, slopes: Sequence[Tensor]) -> bool:
    # The second line's gradient is a difference of sums: too coarse in half precision. The
    # compiler fuses the plain operators, and chooses by itself what to keep.
    if len(slopes) != 2 or x.dtype not in (torch.float32, torch.float64):
        return False
    return not (torch.compiler.is_compiling() or needs_plain_operators(x, slopes[0]))


class _MaximumOfTwo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a_1: Tensor, a_2: Tensor, b_1: Tensor, b_2: Tensor) -> Tensor:
        ctx.save_for_backward(x, a_1, a_2, b_1, b_2)
        first = (a_1 * x).add_(b_1)
        return torch.maximum(first, (a_2 * x).add_(b_2), out=first)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, a_1, a_2, b_1, b_2 = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _differentiable(grad, x, a_1, a_2, b_1, b_2)
        buffer = (x * (a_1 - a_2)).add_(b_1 - b_2)
        above = torch.ops.aten.threshold_backward(grad, buffer, 0)
        for_x = (grad * a_2).addcmul_(above, a_1 - a_2)
        b = above.sum_to_size(b_1.shape)
        rest_of_b = grad.sum_to_size(b_2.shape) - b
        a = torch.mul(above, x, out=buffer).sum_to_size(a_1.shape)
        # where there is nothing to sum, `a` is the buffer itself
        rest_of_a = (grad * x if a is buffer else torch.mul(grad, x, out=buffer)).sum_to_size(
            a_2.shape
        ) - a
        return for_x, a, rest_of_a, b, rest_of_b


def _differentiable(grad: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients as a graph of plain operators, for gradients of gradients."""
    x, a_1, a_2, b_1, b_2 = aliases = [tensor.view_as(tensor) for tensor in inputs]
    y = torch.maximum(a_1 * x + b_1, a_2 * x + b_2)
    needed = [alias for alias in aliases if alias.requires_grad]
    found = iter(torch.autograd.grad(y, needed, grad, create_graph=True))
    return tuple(next(found) if alias.requires_grad else None for alias in aliases)  # type: ignore[misc]
