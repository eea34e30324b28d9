"""What layers answer that hold K kernels and mix them by weights that sum to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from dynsurgeon.operators.answers import Part
from dynsurgeon.operators.contract import Shape, StaticConv
from dynsurgeon.operators.convolving import ConvolvingLayer


class BankLayer(ConvolvingLayer):
    """A convolution with a bank of K kernels.

    Attributes:
        experts: Number of kernels K.
        weight: Bank of kernels ``(K, *shape of the static weight)``.
        bias: Bank of biases ``(K, C_out)``, or None.
    """

    sums_to_one = True
    experts: int

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
        return mixing + self.attention_multiply_adds(math.prod(taken[2:]))

    def attention_multiply_adds(self, positions: int) -> int:
        """Multiply-adds of what weighs the kernels, pooling over `positions` places included."""
        raise NotImplementedError

    def banks(self) -> Mapping[str, nn.Parameter]:
        return {"weight": self.weight, **({} if self.bias is None else {"bias": self.bias})}

    @property
    def has_identical_kernels(self) -> bool:
        """Whether the kernels are one and the same, so that their weights mean nothing."""
        banks = self.banks().values()
        return all(torch.equal(bank, bank[:1].expand_as(bank)) for bank in banks)

    def fill_banks(self, static: StaticConv) -> None:
        """Hold copies of a static convolution's kernel and bias."""
        self.weight = bank_of(static.weight, self.experts)
        bias = None if static.bias is None else bank_of(static.bias, self.experts)
        self.register_parameter("bias", bias)

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        """Return the first kernel and bias: those of any, where they are all the same."""
        banks = {"weight": self.weight, "bias": self.bias}
        return {
            name: None if bank is None else nn.Parameter(bank[0].clone(), bank.requires_grad)
            for name, bank in banks.items()
        }

    @classmethod
    def expected(cls, settings: Mapping[str, Any], channels: int | None) -> dict[str, Shape]:
        return {"weight": (settings.get("experts", -1),)}

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name in ("weight", "bias"):
            return Part("bank", math.sqrt(self.experts), decays=name == "weight")
        return super().part(name, parameter)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `net.to(memory_format=torch.channels_last)` takes every 4- or 5-d weight for a kernel, and
        # fails on a bank. It is mixed as a matrix with K rows, so that is what it shows itself as.
        def apply_to_matrix(tensor: Tensor) -> Tensor:
            return fn(tensor.flatten(1)).view(tensor.shape) if tensor.dim() > 2 else fn(tensor)

        super()._apply(apply_to_matrix, recurse)  # type: ignore[no-untyped-call]
        return self

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, experts={self.experts}"


def spread_zero_sum(bank: Tensor, spread: float) -> None:
    """Add to the kernels what sums to 0, of so many standard deviations of the bank, in place."""
    noise = torch.randn_like(bank)
    noise -= noise.mean(dim=0, keepdim=True)
    bank += noise * (spread * bank.std(correction=0))


def bank_of(tensor: Tensor, experts: int) -> nn.Parameter:
    """Return a bank of copies of a static kernel or bias."""
    bank = tensor.detach().unsqueeze(0).repeat(experts, *[1] * tensor.dim())
    return nn.Parameter(bank, requires_grad=tensor.requires_grad)
