"""Give an owner a new forward and keep everything else of it, its class included.

The owner gets a subclass of its own class with the traced forward, as
`torch.nn.utils.parametrize` does: `isinstance`, attributes, helper methods, hooks and state_dict
keys stay. Where train and eval mode differ, both forwards are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from dynsurgeon.surgery.trace import OwnerTrace, compile_forward, same_code

_BASE = "_dynsurgeon_base"


def rewrite_forward(trace: OwnerTrace) -> None:
    """Make `trace` the forward of its owner."""
    in_eval = compile_forward(trace.graphs["eval"])
    forward = in_eval
    if not same_code(trace.graphs["eval"], trace.graphs["train"]):
        forward = _either(compile_forward(trace.graphs["train"]), in_eval)
    base = type(trace.owner)
    names = {name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")}
    trace.owner.__class__ = type(base.__name__, (base,), {**names, "forward": forward, _BASE: base})


def undo_rewrite(owner: nn.Module) -> None:
    """Give a rewritten owner its own class and forward back."""
    base = vars(type(owner)).get(_BASE)
    if base is not None:
        owner.__class__ = base


def _either(in_train: Callable[..., Any], in_eval: Callable[..., Any]) -> Callable[..., Any]:
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (in_train if self.training else in_eval)(self, *args, **kwargs)

    return forward
