"""Give an owner a new forward and keep everything else of it, its class included.

The owner gets a subclass of its own class with the traced forward, as
`torch.nn.utils.parametrize` does: `isinstance`, attributes, helper methods, hooks and state_dict
keys stay. Where train and eval mode differ, both forwards are kept.

What the forward reads from plain attributes (a flag, a number) is fixed in the trace: it has to be
set before the conversion. What it does beside computing (printing, counting in a global) is gone.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, NoReturn

from torch import nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.surgery.owners.trace import OwnerTrace, compile_forward, same_code

_BASE = "_dynsurgeon_base"


def rewrite_forward(trace: OwnerTrace) -> None:
    """Make `trace` the forward of its owner."""
    in_eval = compile_forward(trace.graphs["eval"])
    forward = in_eval
    if not same_code(trace.graphs["eval"], trace.graphs["train"]):
        forward = _either(compile_forward(trace.graphs["train"]), in_eval)
    base = type(trace.owner)
    names = {name: getattr(base, name) for name in ("__module__", "__qualname__", "__doc__")}
    members = {**names, "forward": forward, _BASE: base}
    meta = _metaclass(type(base))  # type: ignore[arg-type]  # a class of classes is hashable too
    trace.owner.__class__ = meta(base.__name__, (base,), members)


def undo_rewrite(owner: nn.Module) -> None:
    """Give a rewritten owner its own class and forward back."""
    base = vars(type(owner)).get(_BASE)
    if base is not None:
        owner.__class__ = base


def is_rewritten(module: nn.Module) -> bool:
    """Whether the forward of `module` is a traced one."""
    return _BASE in vars(type(module))


@cache
def _metaclass(meta: type) -> type:
    # A class that exists in memory alone can't be found again by name. Without this, pickle says
    # no more than that it is not the same object.
    kind = type(f"Rewritten{meta.__name__}", (meta,), {})
    copyreg.pickle(kind, _refuse_pickle)
    return kind


def _refuse_pickle(kind: type) -> NoReturn:
    raise UnsupportedModelError(
        f"the converted {kind.__name__} can't be pickled: write it with dynsurgeon.save(model, "
        "directory), or pickle its state_dict"
    )


def _either(in_train: Callable[..., Any], in_eval: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(in_eval)  # torch.export matches dynamic shapes with the signature
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (in_train if self.training else in_eval)(self, *args, **kwargs)

    return forward
