"""Exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.training.finetune.sharding import fill, whole

COPIED = "temperature"
"""A buffer of this name follows its schedule, and is not averaged."""


class MovingAverage:
    """Average of the parameters and floating buffers of a network, one update a step.

    The decay rises as ``min(decay, (1 + t) / (10 + t))`` with the number of updates t, so that the
    beginning is soon forgotten. Temperatures and counters are copied.

    Args:
        model: The network, on its device; sharded or not.
        decay: Decay a step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.updates = model, decay, 0
        self.average = {name: tensor.clone() for name, tensor in self._tensors().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the network's present weights into the average."""
        self.updates += 1
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, tensor in self._tensors().items():
            if tensor.is_floating_point() and name.rpartition(".")[2] != COPIED:
                self.average[name].lerp_(tensor, weight)
            else:
                self.average[name].copy_(tensor)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the averaged weights while the block runs."""
        own = {name: tensor.clone() for name, tensor in self._tensors().items()}
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    def state_dict(self) -> dict[str, Any]:
        """Return the average, whole, and its age; all processes call it."""
        return {"average": whole(self.average), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        fill(self.average, state["average"])
        self.updates = state["updates"]

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.model.state_dict().items()}

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, tensor in self._tensors().items():
            tensor.copy_(values[name])
