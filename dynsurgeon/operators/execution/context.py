"""Where an algorithm has to be a graph of plain operators, because something looks into it.

The flags of `torch.compiler` are the process's: while one thread exports, another one that merely
runs a dynamic model would take other algorithms. So here this thread is asked as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dynsurgeon.compat import traced_in_this_thread, transformed_by_func


def is_exporting() -> bool:
    """Whether `torch.export` is tracing what this thread runs."""
    return torch.compiler.is_exporting() and traced_in_this_thread()


def is_compiling() -> bool:
    """Whether `torch.compile` or `torch.export` is tracing what this thread runs."""
    return torch.compiler.is_compiling() and traced_in_this_thread()


def needs_plain_operators(*tensors: Tensor) -> bool:
    """Whether autocast, `torch.jit.trace`, `torch.func` or forward-mode autograd is at work.

    None of these can call a lean algorithm: each rewrites the operators one by one.
    """
    jit: Any = torch.jit
    if torch.is_autocast_enabled(tensors[0].device.type):
        return True
    if is_compiling():
        return False
    return bool(jit.is_tracing()) or any(_transformed(tensor) for tensor in tensors)


def _transformed(tensor: Tensor) -> bool:
    if transformed_by_func(tensor):
        return True
    unpack: Any = forward_ad.unpack_dual
    return unpack(tensor).tangent is not None
