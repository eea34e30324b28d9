"""What an algorithm of execution is, and the base of those that bring their own backward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from dynsurgeon.operators.geometry import ConvGeometry

Algorithm: TypeAlias = Callable[[Tensor, Tensor, Tensor, "Tensor | None", ConvGeometry], Tensor]
"""``(x, pi, weight, bias, geometry) -> y``; see `run_dynamic_convolution`."""


class Operands(NamedTuple):
    """What an output is computed from; see `run_dynamic_convolution`."""

    x: Tensor
    pi: Tensor
    weight: Tensor
    geometry: ConvGeometry


class Gradients(NamedTuple):
    """Gradients of input, attention and bank; each None where it isn't needed."""

    x: Tensor | None
    pi: Tensor | None
    weight: Tensor | None


class Needs(NamedTuple):
    """Which of `Gradients` are wanted."""

    x: bool
    pi: bool
    weight: bool


class LeanAlgorithm(ABC):
    """An algorithm whose backward mixes again instead of keeping what the forward mixed.

    It keeps the input, the attention and the bank, so training takes little more memory than the
    static network.

    Attributes:
        name: Its name in the table of `lean`.
    """

    name: ClassVar[str]

    @abstractmethod
    def convolve(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, Tensor | None]:
        """Return ``(N, C_out, *spatial)`` without the bias, and what the backward needs besides."""

    @abstractmethod
    def gradients(self, grad: Tensor, of: Operands, kept: Tensor | None, needs: Needs) -> Gradients:
        """Return the gradients for `grad`, the gradient of the output, and what `convolve` kept."""

    def output(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, Tensor | None]:
        """Return what `convolve` returns, the output in the memory format of `x` and no view."""
        y, kept = self.convolve(x, pi, weight, geometry)
        return as_output(y, x), kept

    def kept_channels(self, weight: Tensor, geometry: ConvGeometry) -> int:
        """Channels of what `convolve` keeps, on the places of the output; 0 if it keeps nothing."""
        return 0


BY_NAME: dict[str, LeanAlgorithm] = {}
"""Where an operator of the graph finds a lean algorithm by its name; `lean` fills it."""


def as_output(y: Tensor, x: Tensor) -> Tensor:
    """Return what was computed of `x` in its memory format, and no view.

    Most algorithms shape what they computed by a view. If autograd saw one in the output, it would
    refuse every write into it: an in-place activation's, or that of `+=`.
    """
    return y.contiguous(memory_format=layout_of(x)).detach()


def layout_of(x: Tensor) -> torch.memory_format:
    """Return the memory format that `x` is in, contiguous when it is in both or in none."""
    return torch.channels_last if is_channels_last(x) else torch.contiguous_format


def is_channels_last(x: Tensor) -> bool:
    """Whether an image batch lies in memory channel by channel, and not also place by place."""
    return x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(
        memory_format=torch.channels_last
    )  # fmt: skip
