"""What layers answer that mix their kernels by an attention, a softmax with a temperature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.operators.answers import Head, Part, Temperature
from dynsurgeon.operators.attention import KernelAttention
from dynsurgeon.operators.bank import BankLayer


class KernelMixture(BankLayer):
    """A convolution with K kernels and a `KernelAttention` over them.

    Attributes:
        attention: The attention, with the temperature as its buffer. An `ODConv` of one kernel
            has none.
    """

    attention: KernelAttention

    @property
    def mixes(self) -> bool:
        """Whether there is an attention."""
        return "attention" in self._modules

    def build_attention(
        self, config: Any, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Make the attention, as the settings say: `reduction` and `temperature`."""
        self.attention = KernelAttention(
            self.in_channels,
            self.experts,
            reduction=config.reduction,
            temperature=config.temperature,
            device=device,
            dtype=dtype,
        )

    def attention_multiply_adds(self, positions: int) -> int:
        return self.attention.multiply_adds(positions)

    def heads(self) -> Iterable[Head]:
        if self.mixes:
            attention = self.attention
            yield Head(attention.fc2, float(attention.temperature), attention.fc1)

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"kernels": self.attention(x)} if self.mixes else {}

    def static_obstacle(self) -> str | None:
        if self.has_identical_kernels or not bool(self.attention.fc2.weight.any()):
            return None
        return f"has {self.experts} kernels that differ, and attention that depends on its input"

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        found = super().static_parameters()
        if self.has_identical_kernels:
            return found
        pi = torch.softmax(self.attention.fc2.bias / self.attention.temperature, dim=0)
        for name, bank in self.banks().items():
            kernel = (pi @ bank.flatten(1)).view_as(bank[0])
            found[name] = nn.Parameter(kernel, bank.requires_grad)
        return found

    def temperatures(self) -> Iterable[Temperature]:
        if self.mixes:
            yield Temperature(self.attention, "kernels")

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name.startswith("attention."):
            return Part("attention", decays=parameter.dim() > 1)
        return super().part(name, parameter)
