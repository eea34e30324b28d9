"""Writing a result into the tensor that it was computed from, as in-place activations do."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dynsurgeon.operators.execution.context import is_compiling, needs_plain_operators


def overwrite(x: Tensor, y: Tensor) -> Tensor:
    """Write `y` into `x` and return it; the gradient goes to `y` alone.

    `y` must not share memory with `x`: compute it from a copy. The same as ``x.copy_(y)``, whose
    backward fills a map with zeros for `x`, and adds it.
    """
    if is_compiling() or needs_plain_operators(x, y):
        return x.copy_(y)
    written: Tensor = _Overwrite.apply(x, y)
    return written


class _Overwrite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.copy_(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad
