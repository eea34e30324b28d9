"""Writes into the input of a call after the call, which only a static ReLU gets over in training.

y = relu(x)
x += z          # autograd asks the ReLU for y, and every layer that learns for x
"""

from __future__ import annotations

import weakref

from torch import Tensor, nn

from dynsurgeon.surgery.sites.calls import CallKey

Place = tuple[nn.Module, CallKey]
"""A call site: its owner, and its key there."""


class Writes:
    """Watches the inputs of calls, from within a `TorchFunctionMode`.

    A tensor's version is asked for where the mode is off: elsewhere it would see the question.

    Attributes:
        found: By the call whose input was written into: who wrote, a call site that works in place
            or None for all else.
    """

    def __init__(self) -> None:
        self.found: dict[Place, set[Place | None]] = {}
        self._new: list[tuple[weakref.ref[Tensor], Place]] = []
        self._watched: list[tuple[weakref.ref[Tensor], int, Place]] = []

    def watch(self, place: Place, tensor: Tensor) -> None:
        """Watch the input of a call that has just returned."""
        self._new.append((weakref.ref(tensor), place))

    def begin(self) -> None:
        """Note how things are before a function runs."""
        for reference, place in self._new:
            tensor = reference()
            if tensor is not None and not tensor.is_inference():  # these have no version
                self._watched.append((reference, tensor._version, place))
        self._new = []

    def note(self, writer: Place | None) -> None:
        """Look what was written into, after something ran that may have written."""
        left = []
        for reference, version, place in self._watched:
            tensor = reference()
            if tensor is None:
                continue
            if tensor._version == version:
                left.append((reference, version, place))
            else:
                self.found.setdefault(place, set()).add(writer)
        self._watched = left
