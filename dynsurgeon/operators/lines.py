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

from dynsurgeon.operators.execution.context import is_compiling, is_exporting, needs_plain_operators
from dynsurgeon.operators.lines_operator import larger, larger_gradients, larger_line


def maximum_of_lines(x: Tensor, slopes: Sequence[Tensor], offsets: Sequence[Tensor]) -> Tensor:
    """Return ``max_k(a_k x + b_k)``, of the shape of `x`.

    Args:
        x: Input ``(N, C, *spatial)``.
        slopes: K slopes, each broadcastable against `x`.
        offsets: K offsets, the same.
    """
    if _lean_applies(x, slopes):
        apply = larger_line if is_compiling() else _LargerLine.apply
        y: Tensor = apply(x, *slopes, *offsets)
        return y
    return upper_of([a * x + b for a, b in zip(slopes, offsets, strict=True)])


def upper_of(lines: Sequence[Tensor]) -> Tensor:
    """Return the largest of some lines at each place; where the first two tie, it is the second."""
    first, *others = lines
    # One choice after the other: much cheaper than stacking the lines and reducing.
    return reduce(_upper, [*others[:1], first, *others[1:]])


def _upper(one: Tensor, other: Tensor) -> Tensor:
    # `torch.maximum` would give each half of the gradient where the two tie, as every line does
    # wherever the layer before gave 0.
    return torch.where(other > one, other, one)


def _lean_applies(x: Tensor, slopes: Sequence[Tensor]) -> bool:
    # The second line's gradient is a difference of sums: too coarse in half precision.
    if len(slopes) != 2 or x.dtype not in (torch.float32, torch.float64):
        return False
    return not (is_exporting() or needs_plain_operators(x, slopes[0]))


class _LargerLine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, a_1: Tensor, a_2: Tensor, b_1: Tensor, b_2: Tensor) -> Tensor:
        ctx.save_for_backward(x, a_1, a_2, b_1, b_2)
        return larger(x, a_1, a_2, b_1, b_2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        if torch.is_grad_enabled():
            return _differentiable(grad, *ctx.saved_tensors)
        return larger_gradients(grad, *ctx.saved_tensors)


def _differentiable(grad: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients as a graph of plain operators, for gradients of gradients."""
    x, a_1, a_2, b_1, b_2 = aliases = [tensor.view_as(tensor) for tensor in inputs]
    y = _upper(a_2 * x + b_2, a_1 * x + b_1)
    needed = [alias for alias in aliases if alias.requires_grad]
    found = iter(torch.autograd.grad(y, needed, grad, create_graph=True))
    return tuple(next(found) if alias.requires_grad else None for alias in aliases)  # type: ignore[misc]
