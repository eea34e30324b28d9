"""What a dynamic layer answers with: its heads, its temperatures, what its parameters are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn


@dataclass(frozen=True)
class Head:
    """A small network inside a layer that says, for each sample, what the layer does.

    Attributes:
        last: Its last layer.
        reach: By how much a change of its outputs changes the layer a good deal.
        hidden: Its hidden layer, whose positive outputs go into the last; None if `last` reads
            the layer's own input.
        biased: Whether a bias of the last layer makes a difference.
        channels: How many channels each of its outputs changes.
    """

    last: nn.Linear
    reach: float
    hidden: nn.Linear | None = None
    biased: bool = True
    channels: int = 1

    @property
    def has_moved(self) -> bool:
        """Whether the last layer is no longer the zeros that it starts as."""
        bias = self.last.bias if self.biased else None
        return any(bool(p.any()) for p in (self.last.weight, bias) if p is not None)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of its layers."""
        for layer in (self.hidden, self.last):
            yield from () if layer is None else layer.parameters()


@dataclass(frozen=True)
class Temperature:
    """A softmax's temperature.

    Attributes:
        holder: The module with the buffer ``temperature``.
        over: What the softmax chooses from.
    """

    holder: nn.Module
    over: Literal["kernels", "places"]

    @property
    def value(self) -> Tensor:
        """The buffer: another tensor after the network has moved to another device."""
        value: Tensor = self.holder.get_buffer("temperature")
        return value


@dataclass(frozen=True)
class Part:
    """What a parameter is to an optimizer.

    Attributes:
        name: One of `GROUPS`.
        factor: Its learning rate over that of the rest, unless a user chooses another.
        decays: Whether it gets weight decay.
    """

    name: str
    factor: float = 1.0
    decays: bool = True


HIDDEN_FLOOR = 4
"""Hidden layers never get narrower than this, and those of this width learn at the full rate."""


INPUT_FLOOR = 32
"""The same for heads without a hidden layer, of what they read: 8 times as much, as hidden layers
are an eighth of their input unless somebody chooses otherwise."""

CHANNEL_FLOOR = 8
"""As many channels may hang on one output of a head before it learns more slowly."""


def head_factor(head: Head) -> float:
    """Return the learning rate of a head over that of the rest.

    Its last layer starts at zero, so a step moves what it says by the rate times the squared length
    of what that layer reads, which grows with its width. And where one output changes many
    channels, its gradient is their sum: each is moved as far as all of them together ask for.
    """
    floor = INPUT_FLOOR if head.hidden is None else HIDDEN_FLOOR
    return min(1.0, floor / head.last.in_features) * min(1.0, CHANNEL_FLOOR / head.channels)


GROUPS = ("bank", "attention", "relu", "head", "rest")
"""The parts of a dynamic network: kernels that are mixed, attentions over them, heads of the
DY-ReLUs, heads of other operators, all else."""
