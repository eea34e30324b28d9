"""What running an owner's Python once leaves behind, beside what it returns.

A trace runs it once. Attributes that it assigns then, lists that it appends to and random numbers
that it draws would be the same ever after, so each is a reason not to trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from dynsurgeon.surgery.randomness import random_state, same_random_state

_REGISTRIES = ("_parameters", "_buffers", "_modules")


class Attributes:
    """Remembers a module's attributes, to put them back."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._before = {name: (value, _contents(value)) for name, value in vars(module).items()}

    def undo(self) -> set[str]:
        """Put every attribute back, and return the names of those that had changed."""
        now = vars(self._module)
        changed = {name for name in now if name not in self._before}
        for name in changed:
            del now[name]
        for name, (value, contents) in self._before.items():
            if now.get(name) is not value:
                changed.add(name)
                now[name] = value
            if contents is not None:
                changed |= _changes(name, value, contents)
                _refill(value, contents)
        return changed


class SideEffects(Attributes):
    """Remembers the random state too, to compare with."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._random = random_state()

    def drew(self) -> bool:
        """Whether random numbers were drawn since."""
        return not same_random_state(self._random, random_state())


def _contents(value: Any) -> Any:
    return type(value)(value) if type(value) in (dict, list, set) else None


def _changes(name: str, value: Any, contents: Any) -> set[str]:
    if name in _REGISTRIES:
        return {k for k in {*value, *contents} if value.get(k) is not contents.get(k)}
    return set() if _identities(value) == _identities(contents) else {name}


def _identities(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, id(item)) for key, item in value.items()]
    ids: Iterable[int] = map(id, value)
    return set(ids) if isinstance(value, set) else list(ids)


def _refill(value: Any, contents: Any) -> None:
    value.clear()
    if isinstance(value, list):
        value.extend(contents)
    else:
        value.update(contents)
