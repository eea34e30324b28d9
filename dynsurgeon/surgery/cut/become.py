"""Turn a module into another one in place.

Whoever holds the module (its parents, a Python list, a closure, a hook's handle) goes on holding
it, and now holds the new one. Setting a new object on the parent would miss all but the parent.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from dynsurgeon.surgery.sites.hooks import HOOK_ATTRIBUTES

_FORMER = "_dynsurgeon_former"


def become(module: nn.Module, other: nn.Module) -> None:
    """Make `module` what `other` is; its own hooks and further attributes stay.

    `other` must not be used afterwards: the two share their parameters and buffers.
    """
    former = {"class": type(module), "vars": _plain_vars(module)}
    kept = {name: vars(module)[name] for name in HOOK_ATTRIBUTES if name in vars(module)}
    vars(module).update({**vars(other), **kept})
    module.__class__ = type(other)
    vars(module)[_FORMER] = former


def become_former(module: nn.Module, other: nn.Module) -> None:
    """Undo `become`, with the parameters and buffers of `other`, a module of the former kind."""
    former: dict[str, Any] = vars(module).pop(_FORMER)
    hooks = {name: vars(module)[name] for name in HOOK_ATTRIBUTES if name in vars(module)}
    training = module.training
    vars(module).clear()
    vars(module).update({**vars(other), **former["vars"], **hooks, "training": training})
    module.__class__ = former["class"]


def _plain_vars(module: nn.Module) -> dict[str, Any]:
    state = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set", *HOOK_ATTRIBUTES}
    return {name: value for name, value in vars(module).items() if name not in state}
