"""What running an owner's Python once leaves behind, beside what it returns.

A trace runs it once. Attributes that it assigns then and lists that it appends to would be the same
ever after, so each is a reason not to trace.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from dynsurgeon.running.snapshot import Snapshot

_REGISTRIES = ("_parameters", "_buffers", "_modules")


class SideEffects:
    """Remembers what a module and those in it hold, to put it back."""

    def __init__(self, module: nn.Module) -> None:
        self._parts = [_Attributes(name, part) for name, part in module.named_modules()]

    def undo(self) -> set[str]:
        """Put everything back, and return the names of the attributes that had changed."""
        return {name for part in self._parts for name in part.undo()}


class _Attributes:
    """The attributes of one module, with what lies in them but for the module's own tensors."""

    def __init__(self, path: str, module: nn.Module) -> None:
        self._module, self._prefix = module, f"{path}." if path else ""
        self._before = dict(vars(module))
        registries = {name: self._before.get(name) for name in _REGISTRIES}
        self._registered = {n: dict(r) for n, r in registries.items() if isinstance(r, dict)}
        # A trace records what is done to parameters and buffers; to other tensors it does it.
        holding = {
            name: value
            for name, value in self._before.items()
            if name not in _REGISTRIES and isinstance(value, (Tensor, list, dict, tuple, set))
        }
        # Most are the dictionaries of hooks, empty, and tuples of numbers, which can't change.
        self._empty = [name for name, value in holding.items() if _is_empty(value)]
        self._inside = {
            name: Snapshot(value)
            for name, value in holding.items()
            if not _is_empty(value) and not _is_constant(value)
        }

    def undo(self) -> set[str]:
        now = vars(self._module)
        names = {*now, *self._before}
        changed = {name for name in names if now.get(name) is not self._before.get(name)}
        if changed:
            now.clear()
            now.update(self._before)
        for name, entries in self._registered.items():
            registry = now[name]
            changed |= {k for k in {*registry, *entries} if registry.get(k) is not entries.get(k)}
            registry.clear()
            registry.update(entries)
        filled = [name for name in self._empty if self._before[name]]
        for name in filled:
            self._before[name].clear()
        changed |= {name for name, snapshot in self._inside.items() if snapshot.restore()}
        return {self._prefix + name for name in (*changed, *filled)}


def _is_empty(value: Any) -> bool:
    return type(value) in (list, dict, OrderedDict, set) and not value


def _is_constant(value: Any) -> bool:
    return type(value) is tuple and all(isinstance(item, (int, float, str)) for item in value)
