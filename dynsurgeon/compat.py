"""What is used of torch and Accelerate beyond their public names: each named here, and tested.

Another version may move or drop any of it. Not here are the base classes and the registries of
`nn.Module` (``_ConvNd``, ``_parameters``), which half the world builds on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._guards import TracingContext
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import (
    GetAttrKey,
    KeyEntry,
    register_pytree_node,
    tree_flatten,
    tree_leaves,
    tree_map,
)

__all__ = [
    "TRACED_CONSTANT",
    "GetAttrKey",
    "KeyEntry",
    "TorchDispatchMode",
    "accelerate_is_unused",
    "compiled_in_place",
    "forget_accelerate",
    "hooked_everywhere",
    "is_traceable_wrapper_subclass",
    "register_pytree_node",
    "traced_in_this_thread",
    "transformed_by_func",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
]

TRACED_CONSTANT = "_tensor_constant"
"""Begin of the names under which torch.fx keeps tensors that a forward makes while it is traced."""


def transformed_by_func(tensor: Tensor) -> bool:
    """Whether a transformation of `torch.func` is at work on a tensor."""
    functorch: Any = torch._C._functorch
    return bool(functorch.is_functorch_wrapped_tensor(tensor))


def traced_in_this_thread() -> bool:
    """Whether `torch.compile` or `torch.export` is at work in this thread."""
    context: Any = TracingContext
    return torch.compiler.is_dynamo_compiling() or context.try_get() is not None


def compiled_in_place(module: nn.Module) -> bool:
    """Whether ``module.compile()`` was called."""
    return module._compiled_call_impl is not None


@contextmanager
def hooked_everywhere(before: Callable[..., Any], after: Callable[..., Any]) -> Iterator[None]:
    """Call `before` and `after` around every module's forward in this process.

    `after` gets keywords, and is called without them where a forward raised. torch itself leaves an
    entry behind when such a hook is removed, after which `torch.compile` warns of hooks for ever.
    """
    hooks = nn.modules.module
    entering = hooks.register_module_forward_pre_hook(before)
    leaving = hooks.register_module_forward_hook(after, with_kwargs=True, always_call=True)
    try:
        yield
    finally:
        entering.remove()
        leaving.remove()
        hooks._global_forward_hooks_with_kwargs.pop(leaving.id, None)


def accelerate_is_unused() -> bool:
    """Whether this process has made no `Accelerator` yet."""
    from accelerate.state import AcceleratorState

    return bool(AcceleratorState._shared_state == {})


def forget_accelerate() -> None:
    """Let the next `Accelerator` of this process be set up in another way.

    What Accelerate knows is one for the process, which could never again train with another
    precision or on another device. A group of processes stays.
    """
    from accelerate.state import AcceleratorState, GradientState, PartialState

    alone = PartialState().num_processes == 1
    AcceleratorState._reset_state()
    GradientState._reset_state()
    if alone:
        PartialState._reset_state()
