"""What layers answer that mix a bank of kernels by an attention whose weights sum to 1."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from dynsurgeon.operators.attention import KernelAttention
from dynsurgeon.operators.contract import ConvolutionLayer, Head, Part, Shape, Temperature


class KernelMixture(ConvolutionLayer):
    """A convolution with K kernels and a `KernelAttention` over them.

    Attributes:
        experts: Number of kernels K.
        weight: Bank of kernels ``(K, *shape of the static weight)``.
        bias: Bank of biases ``(K, C_out)``, or None.
        attention: The attention.
    """

    sums_to_one = True
    experts: int
    weight: nn.Parameter
    bias: nn.Parameter | None
    attention: KernelAttention

    @classmethod
    def choices(cls, config: Any) -> list[Any]:
        """Two kernels, four, eight … up to what was asked for."""
        powers = [2**i for i in range(1, config.experts.bit_length()) if 2**i < config.experts]
        return [replace(config, experts=k) for k in (*powers, config.experts)]

    @classmethod
    def parts(cls, config: Any) -> int:
        count: int = config.experts
        return count

    @classmethod
    def kernels(cls, config: Any) -> int:
        count: int = config.experts
        return count

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        mixing = sum(bank.numel() for bank in self.banks().values())
        return mixing + self.attention.multiply_adds(math.prod(taken[2:]))

    def heads(self) -> Iterable[Head]:
        attention = self.attention
        yield Head(attention.fc2, float(attention.temperature), attention.fc1)

    def banks(self) -> Mapping[str, nn.Parameter]:
        return {"weight": self.weight, **({} if self.bias is None else {"bias": self.bias})}

    @property
    def has_identical_kernels(self) -> bool:
        """Whether the kernels are one and the same, so that the attention means nothing."""
        banks = self.banks().values()
        return all(torch.equal(bank, bank[:1].expand_as(bank)) for bank in banks)

    def static_obstacle(self) -> str | None:
        if self.has_identical_kernels or not bool(self.attention.fc2.weight.any()):
            return None
        return f"has {self.experts} kernels that differ, and attention that depends on its input"

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        return {"weight": self._mixed(self.weight), "bias": self._mixed(self.bias)}

    def _mixed(self, bank: nn.Parameter | None) -> nn.Parameter | None:
        if bank is None:
            return None
        kernel = bank[0].clone()
        if not self.has_identical_kernels:
            logits = self.attention.fc2.bias / self.attention.temperature
            kernel = (torch.softmax(logits, dim=0) @ bank.flatten(1)).view_as(kernel)
        return nn.Parameter(kernel, bank.requires_grad)

    @classmethod
    def expected(cls, settings: Mapping[str, Any], channels: int | None) -> dict[str, Shape]:
        return {"weight": (settings.get("experts", -1),)}

    def temperatures(self) -> Iterable[Temperature]:
        yield Temperature(self.attention, "kernels")

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name.startswith("attention."):
            return Part("attention", decays=parameter.dim() > 1)
        return Part("bank", math.sqrt(self.experts), decays=name == "weight")
