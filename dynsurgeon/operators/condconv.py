"""Conditionally parameterized convolution (arXiv 1904.04971): kernels weighed by sigmoids.

    r = sigmoid(fc(gap(x)))          W(x) = W_1 + sum_{k>1} r_k (W_k - W_1)

The paper sums ``r_k W_k``, which ``mixture="sum"`` does. Around the first kernel the weights sum to
1, so that identical kernels are the static convolution bit for bit, and everything that holds of
dynamic convolution holds here: its algorithms, a BatchNorm that folds into the bank. The
first kernel's own ``r_1`` has no effect, and is left out.

The sum is computed as ``S(x) conv(x; sum_k (r_k / S) W_k)`` with ``S = sum_k r_k``: weights that
sum to 1 again, for every algorithm and for export, and a scale. It starts at r_k = 1/2 and
``W_k = 2 W / K + e_k`` with ``sum_k e_k = 0``, at the original to rounding. Equal kernels under
equal routes would have equal gradients, and stay equal for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.operators.answers import Head, Part
from dynsurgeon.operators.attention import global_average, scaled, zero_layer
from dynsurgeon.operators.bank import BankLayer, spread_zero_sum
from dynsurgeon.operators.contract import StaticConv
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
        routing: The layer ``(K - 1, C_in)`` that says what becomes of the kernels after the first;
            of all kernels, ``(K, C_in)``, where they are summed.
    """

    def __init__(self, static: StaticConv, config: CondConvConfig | None = None) -> None:
        super().__init__()
        config = config or CondConvConfig()
        self.experts, self.sums_to_one = config.experts, config.mixture == "around"
        self.copy_geometry(static)
        self.fill_banks(static)
        like: dict[str, Any] = {"device": static.weight.device, "dtype": static.weight.dtype}
        if self.sums_to_one:
            self.routing = nn.Linear(self.in_channels, self.experts - 1, **like)
        else:
            self.routing = zero_layer(self.in_channels, self.experts, **like)
            self._share_out(config.spread)
        self.learn_like(static)

    @torch.no_grad()
    def _share_out(self, spread: float) -> None:
        """Let half the sum of the kernels be the static one, and set them apart."""
        for bank in self.banks().values():
            bank.mul_(2 / self.experts)
        spread_zero_sum(self.weight, spread)

    def compute(self, x: Tensor) -> Tensor:
        pi = self.weights(x)
        total = None if self.sums_to_one else pi.sum(1, keepdim=True)
        pi = pi if total is None else pi / total
        y = run_dynamic_convolution(self.pad(x), pi, self.weight, self.bias, self.geometry)
        return y if total is None else scaled(y, total.expand(-1, self.out_channels))

    def weights(self, x: Tensor) -> Tensor:
        """Return the weights of all kernels ``(N, K)``.

        Around the first kernel they sum to 1, and its own may be below 0.
        """
        routes = torch.sigmoid(self.routing(global_average(x)))
        if not self.sums_to_one:
            return routes
        return torch.cat([1 - routes.sum(1, keepdim=True), routes], dim=1)

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"kernels": self.weights(x)}

    def heads(self) -> Iterable[Head]:
        yield Head(self.routing, ROUTING_REACH)

    def attention_multiply_adds(self, positions: int) -> int:
        return self.in_channels * positions + self.routing.weight.numel()

    def static_obstacle(self) -> str | None:
        if not (self.sums_to_one or bool(self.routing.weight.any())):
            return None
        if self.sums_to_one and self.has_identical_kernels:
            return None
        return f"has {self.experts} kernels that differ"

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        found = super().static_parameters()
        if self.sums_to_one:
            return found
        routes = torch.sigmoid(self.routing.bias)
        for name, bank in self.banks().items():
            kernel = (routes @ bank.flatten(1)).view_as(bank[0])
            found[name] = nn.Parameter(kernel, bank.requires_grad)
        return found

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name.startswith("routing."):
            return Part("attention", decays=parameter.dim() > 1)
        if not self.sums_to_one and name in ("weight", "bias"):
            # Each kernel gets half the gradient and gives half of itself: K / 4 of a static step.
            return Part("bank", 2 / math.sqrt(self.experts), decays=name == "weight")
        return super().part(name, parameter)
