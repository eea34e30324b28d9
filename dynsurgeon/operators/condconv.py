"""Conditionally parameterized convolution (arXiv 1904.04971): kernels weighed by sigmoids.

    r = sigmoid(fc(gap(x)))          W(x) = W_1 + sum_{k>1} r_k (W_k - W_1)

The paper sums ``r_k W_k``. Around the first kernel the weights sum to 1, so that identical kernels
are the static convolution bit for bit, and everything that holds of dynamic convolution holds here:
its forms of execution, a BatchNorm that folds into the bank. The first kernel's own ``r_1`` has no
effect, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from dynsurgeon.operators.attention import global_average
from dynsurgeon.operators.bank import BankLayer
from dynsurgeon.operators.contract import Head, Part, StaticConv
from dynsurgeon.operators.execution import run_dynamic_convolution
from dynsurgeon.settings import CondConvConfig

ROUTING_REACH = 1.0
"""A logit at which a kernel is clearly in or out."""


class CondConv(BankLayer):
    """A convolution of K kernels, each switched by a sigmoid of its own.

    Args:
        static: The convolution that it starts from.
        config: How many kernels.

    Attributes:
        routing: The layer ``(K - 1, C_in)`` that says what becomes of the kernels after the first.
    """

    def __init__(self, static: StaticConv, config: CondConvConfig | None = None) -> None:
        super().__init__()
        self.experts = (config or CondConvConfig()).experts
        self.copy_geometry(static)
        self.fill_banks(static)
        like = {"device": static.weight.device, "dtype": static.weight.dtype}
        self.routing = nn.Linear(self.in_channels, self.experts - 1, **like)  # type: ignore[arg-type]
        self.learn_like(static)

    def compute(self, x: Tensor) -> Tensor:
        pi = self.weights(x)
        return run_dynamic_convolution(self.pad(x), pi, self.weight, self.bias, self.geometry)

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights of all kernels ``(N, K)``, summing to 1; the first may be below 0."""
        others = torch.sigmoid(self.routing(global_average(x)))
        return torch.cat([1 - others.sum(1, keepdim=True), others], dim=1)

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"kernels": self.weights(x)}

    def heads(self) -> Iterable[Head]:
        yield Head(self.routing, ROUTING_REACH)

    def attention_multiply_adds(self, positions: int) -> int:
        return self.in_channels * positions + self.routing.weight.numel()

    def static_obstacle(self) -> str | None:
        if self.has_identical_kernels:
            return None
        return f"has {self.experts} kernels that differ"

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name.startswith("routing."):
            return Part("attention", decays=parameter.dim() > 1)
        return super().part(name, parameter)
