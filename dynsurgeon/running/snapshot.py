"""All that a forward may write into a model, remembered and put back.

A forward writes more than BatchNorm's buffers: a codebook or a scale that is a frozen parameter, an
average in a plain attribute, a weight that is clipped to its norm, a step counter, a cache. Nothing
tells beforehand which, and a tensor's version counter misses every write through ``.data``; so all
tensors are copied, the trainable ones too. For the time of a run that is the model's weights once
more in memory, less than the gradients of a training step, and two passes over them in time.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from dynsurgeon.compat import is_traceable_wrapper_subclass

_MAPPINGS = (dict, OrderedDict, defaultdict)
_CONTAINERS = (*_MAPPINGS, list, set, deque)
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Snapshot:
    """What an object holds: attributes of modules, contents of containers, values of tensors.

    Args:
        root: A model, or anything else that holds tensors. Tuples, lists, dictionaries, sets and
            modules are looked into, registered as submodules or not; other objects are not.
    """

    def __init__(self, root: Any) -> None:
        containers, tensors = _reachable(root)
        self._contents = [(container, _items(container)) for container in containers]
        self._tensors = [_Kept(t) for t in tensors if not (t.is_meta or is_lazy(t))]

    def restore(self) -> bool:
        """Put everything back, each tensor the same object with the same bits.

        Returns:
            Whether anything had changed.
        """
        changed = [_refill(container, items) for container, items in self._contents]
        with torch.no_grad():
            changed += [kept.restore() for kept in self._tensors]
        return any(changed)


@contextmanager
def unchanged(*roots: Any) -> Iterator[None]:
    """Put back, on exit, all that these models hold."""
    snapshot = Snapshot(roots)
    try:
        yield
    finally:
        snapshot.restore()


def _reachable(root: Any) -> tuple[list[Any], list[Tensor]]:
    containers: list[Any] = []
    tensors: list[Tensor] = []
    pending, seen = [root], {}
    while pending:
        item = pending.pop()
        kind = type(item)
        if kind not in _CONTAINERS and not isinstance(item, (Tensor, nn.Module, tuple)):
            continue
        if id(item) in seen:
            continue
        seen[id(item)] = item  # held, so that nothing else gets its id
        if isinstance(item, Tensor):
            tensors.append(item)
        elif isinstance(item, torch.jit.ScriptModule):  # its attributes lie in C++
            pending += [*item.parameters(), *item.buffers()]
        elif isinstance(item, nn.Module):
            pending.append(vars(item))
        else:
            if kind in _CONTAINERS:
                containers.append(item)
            pending += item.values() if kind in _MAPPINGS else item
    return containers, tensors


def _items(container: Any) -> tuple[list[Any], list[Any]]:
    """Return the keys of a mapping, no keys for others, and the values."""
    if type(container) in _MAPPINGS:
        return list(container), list(container.values())
    return [], list(container)


def _refill(container: Any, items: tuple[list[Any], list[Any]]) -> bool:
    keys, values = items
    if _holds(container, keys, values):
        return False
    container.clear()
    if type(container) in _MAPPINGS:
        container.update(zip(keys, values, strict=True))
    else:
        (container.extend if isinstance(container, (list, deque)) else container.update)(values)
    return True


def _holds(container: Any, keys: list[Any], values: list[Any]) -> bool:
    # A module has some twenty dictionaries, empty but for three: nothing here may be slow.
    if len(container) != len(values):
        return False
    if type(container) in _MAPPINGS:
        return all(map(is_, container, keys)) and all(map(is_, container.values(), values))
    if type(container) is set:
        return set(map(id, container)) == set(map(id, values))
    return all(map(is_, container, values))


class _Kept:
    """A tensor as it was: its memory, the numbers in it, and whether it was trained."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.trained = tensor, tensor.requires_grad
        self.memory = tensor.detach()  # the same memory, whatever `tensor.data` becomes
        self.plain = _is_plain(tensor)
        self.written = self._written()
        self.numbers = self.written.clone()

    def restore(self) -> bool:
        changed = self.plain and _layout(self.tensor) != _layout(self.memory)
        if changed:
            self.tensor.data = self.memory
        if self.trained != self.tensor.requires_grad and self.tensor.is_leaf:
            self.tensor.requires_grad_(self.trained)
        # A write, even of the same numbers, would spoil a backward pass that is still to come.
        if not self.plain or not same_bits(self.written, self.numbers):
            self.written.copy_(self.numbers)
            changed |= self.plain
        return changed

    def _written(self) -> Tensor:
        # Elements of an expanded tensor lie upon each other: torch writes into none of these.
        memory = self.memory
        if not self.plain:
            return memory
        return memory.as_strided((_extent(memory),), (1,)) if overlaps(memory) else memory


def overlaps(tensor: Tensor) -> bool:
    """Whether elements of a tensor lie upon each other, as those of an expanded one."""
    if tensor.layout is not torch.strided or not tensor.numel():
        return False
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    repeats = any(size > 1 and stride == 0 for size, stride in pairs)
    return repeats or _extent(tensor) < tensor.numel()


def _extent(tensor: Tensor) -> int:
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    return 1 + sum((size - 1) * stride for size, stride in pairs)


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.layout is torch.strided
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg() or tensor.is_nested)
        and not is_traceable_wrapper_subclass(tensor)
    )


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape and type hold the same bits: NaN is NaN, -0 is not 0."""
    if one.element_size() in _INTEGERS:
        kind = _INTEGERS[one.element_size()]
        return torch.equal(one.view(kind), other.view(kind))
    return torch.equal(one, other)
