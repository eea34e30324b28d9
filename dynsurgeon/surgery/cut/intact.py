"""Leave a model whole where an operation on it fails half-way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def intact(model: nn.Module) -> Iterator[None]:
    """Give every module its class, attributes, children, hooks and tensors back if this fails.

    Nothing is copied: an operation that replaces tensors, and does not write into them, is undone
    bit for bit. Until it is over, what it has replaced stays in memory.
    """
    kept = [_Kept(module) for module in model.modules()]
    try:
        yield
    except BaseException:
        for each in kept:
            each.restore()
        raise


class _Kept:
    """A module as it was; the dictionaries in it, which hold its parts, are the same objects."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._class = module, type(module)
        self._attributes = dict(vars(module))
        parts = (value for value in self._attributes.values() if isinstance(value, dict))
        self._parts: list[tuple[dict[Any, Any], dict[Any, Any]]] = [(p, dict(p)) for p in parts]

    def restore(self) -> None:
        if type(self._module) is not self._class:
            self._module.__class__ = self._class
        _refill(vars(self._module), self._attributes)
        for part, entries in self._parts:
            _refill(part, entries)


def _refill(part: dict[Any, Any], entries: dict[Any, Any]) -> None:
    part.clear()
    part.update(entries)
