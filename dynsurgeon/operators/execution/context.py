"""Where a form has to be a graph of plain operators, because something looks into it.

The flags of `torch.compiler` are the process's: while one thread exports, another one that merely
runs a dynamic model would take other forms. So here this thread is asked as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._guards import TracingContext
from torch.autograd import forward_ad


def is_exporting() -> bool:
    """Whether `torch.export` is tracing what this thread runs."""
    return torch.compiler.is_exporting() and _traced_here()


def is_compiling() -> bool:
    """Whether `torch.compile` or `torch.export` is tracing what this thread runs."""
    return torch.compiler.is_compiling() and _traced_here()


def _traced_here() -> bool:
    if torch.compiler.is_dynamo_compiling():
        return True
    context: Any = TracingContext
    return context.try_get() is not None


def needs_plain_operators(*tensors: Tensor) -> bool:
    """Whether autocast, `torch.jit.trace`, `torch.func` or forward-mode autograd is at work.

    None of these can call a lean form: each rewrites the operators one by one.
    """
    jit: Any = torch.jit
    if torch.is_autocast_enabled(tensors[0].device.type):
        return True
    if is_compiling():
        return False
    return bool(jit.is_tracing()) or any(_transformed(tensor) for tensor in tensors)


def _transformed(tensor: Tensor) -> bool:
    functorch: Any = torch._C._functorch
    if functorch.is_functorch_wrapped_tensor(tensor):
        return True
    unpack: Any = forward_ad.unpack_dual
    return unpack(tensor).tangent is not None
