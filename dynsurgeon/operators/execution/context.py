"""Where a form has to be a graph of plain operators, because something looks into it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dynsurgeon.compat import transformed_by_func


def needs_plain_operators(*tensors: Tensor) -> bool:
    """Whether autocast, `torch.jit.trace`, `torch.func` or forward-mode autograd is at work.

    None of these can call a lean form: each rewrites the operators one by one.
    """
    jit: Any = torch.jit
    if torch.is_autocast_enabled(tensors[0].device.type):
        return True
    if torch.compiler.is_compiling():
        return False
    return bool(jit.is_tracing()) or any(_transformed(tensor) for tensor in tensors)


def _transformed(tensor: Tensor) -> bool:
    if transformed_by_func(tensor):
        return True
    unpack: Any = forward_ad.unpack_dual
    return unpack(tensor).tangent is not None
