"""Hooks that a user, or a torch utility, hung on a module."""

from __future__ import annotations

from torch import nn

HOOK_ATTRIBUTES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_is_full_backward_hook",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""Where `nn.Module` keeps its hooks."""

_CALL_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_hooks(module: nn.Module) -> bool:
    """Whether anything hooks the calls of `module`."""
    return any(getattr(module, name) for name in _CALL_HOOKS)


def rewrites_weight(module: nn.Module) -> bool:
    """Whether a hook recomputes the weight: old-style weight_norm, spectral_norm, prune."""
    return any(
        type(hook).__module__.startswith("torch.nn.utils")
        for hook in module._forward_pre_hooks.values()
    )
