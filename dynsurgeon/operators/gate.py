"""A gate behind an operator: squeeze and excite (arXiv 1709.01507), started at 1.

    y = f(x) * 2 sigmoid(fc2(relu(fc1(gap(f(x))))))         f a convolution or an activation

The paper's sigmoid has no factor 2; with it and a last layer of zeros the gate is exactly 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.operators.activating import ActivatingLayer
from dynsurgeon.operators.answers import Head
from dynsurgeon.operators.attention import global_average, scaled, squeeze_layer, zero_layer
from dynsurgeon.operators.constant import ConstantConvolution, doubled_sigmoid
from dynsurgeon.operators.contract import Shape, StaticConv
from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.scale import THETA_REACH
from dynsurgeon.settings import ActivationGateConfig, GateConfig


class GatedConv(ConstantConvolution):
    """A convolution with a gate behind it; see `ConstantConvolution`.

    Args:
        static: The convolution that it starts from.
        config: How wide the hidden layer is.
    """

    learned = "a gate"

    def __init__(self, static: StaticConv, config: GateConfig | None = None) -> None:
        super().__init__(static)
        config = config or GateConfig()
        self.fc1 = squeeze_layer(self.out_channels, config.reduction, **self.factory)
        self.fc2 = zero_layer(self.fc1.out_features, self.out_channels, **self.factory)
        self.learn_like(static)

    def compute(self, x: Tensor) -> Tensor:
        return gated(self.convolve(x), self.fc1, self.fc2)

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"gate": gate_of(self.convolve(x), self.fc1, self.fc2)}

    def heads(self) -> Iterable[Head]:
        yield Head(self.fc2, THETA_REACH, self.fc1)

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        return self.fc1.weight.numel() + self.fc2.weight.numel() + 2 * math.prod(given[1:])


class GatedActivation(ActivatingLayer):
    """An activation with a gate behind it.

    Args:
        channels: Channels C of the input, on axis 1.
        config: How wide the hidden layer is.
        form: The static activation; ReLU by default.
        inplace: Write the result into the input.

    Shape:
        ``(N, C, *spatial)`` with 0 to 3 spatial axes, to the same.
    """

    def __init__(
        self,
        channels: int,
        config: ActivationGateConfig | None = None,
        *,
        form: ActivationForm | None = None,
        inplace: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.form, self.channels, self.inplace = form or ActivationForm(), channels, inplace
        factory: dict[str, Any] = {"device": device, "dtype": dtype or torch.get_default_dtype()}
        if self.form.function == "prelu":
            slopes = torch.as_tensor(self.form.slope, **factory).reshape(-1)
            self.weight = nn.Parameter(slopes)
        self.fc1 = squeeze_layer(channels, (config or ActivationGateConfig()).reduction, **factory)
        self.fc2 = zero_layer(self.fc1.out_features, channels, **factory)

    @classmethod
    def obstacle(cls, form: ActivationForm, config: ActivationGateConfig) -> str | None:
        return None

    def activate(self, x: Tensor) -> Tensor:
        return gated(self._static(x), self.fc1, self.fc2)

    def signals(self, x: Tensor) -> Mapping[str, Tensor]:
        return {"gate": gate_of(self._static(x), self.fc1, self.fc2)}

    def _static(self, x: Tensor) -> Tensor:
        slope = self.weight if self.form.function == "prelu" else None
        return self.form.compute(x, slope)

    def heads(self) -> Iterable[Head]:
        yield Head(self.fc2, THETA_REACH, self.fc1)

    def held(self) -> Iterable[str]:
        return ("weight",) if self.form.function == "prelu" else ()

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        return {name: getattr(self, name) for name in self.held()}

    def static_obstacle(self) -> str | None:
        moved = any(head.has_moved for head in self.heads())
        return "has a gate that depends on its input" if moved else None

    def added_multiply_adds(self, taken: Shape, given: Shape) -> int:
        return self.fc1.weight.numel() + self.fc2.weight.numel() + 2 * math.prod(given[1:])

    def extra_repr(self) -> str:
        return f"{self.channels}, form={self.form.function}"


def gated(y: Tensor, fc1: nn.Linear, fc2: nn.Linear) -> Tensor:
    """Multiply each channel of `y` by what the head says of it."""
    return scaled(y, gate_of(y, fc1, fc2))


def gate_of(y: Tensor, fc1: nn.Linear, fc2: nn.Linear) -> Tensor:
    """Return what the head says of each channel ``(N, C)``, between 0 and 2."""
    return doubled_sigmoid(fc2(torch.relu(fc1(global_average(y)))))
