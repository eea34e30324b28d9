"""Base of the layers that keep the static convolution's one kernel, and do something around it.

Their kernels are constants of an exported graph: any batch, any runtime.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dynsurgeon.operators.answers import Part
from dynsurgeon.operators.contract import StaticConv
from dynsurgeon.operators.convolving import ConvolvingLayer


class ConstantConvolution(ConvolvingLayer):
    """A convolution with a constant kernel.

    Attributes:
        learned: What its heads say, as a person calls it.
    """

    learned: ClassVar[str] = "scales"

    def __init__(self, static: StaticConv) -> None:
        super().__init__()
        self.copy_geometry(static)
        self.weight = _copied(static.weight)
        bias = static.bias
        self.register_parameter("bias", None if bias is None else _copied(bias))

    def convolve(self, x: Tensor) -> Tensor:
        """Compute what the static convolution computes."""
        return self.geometry.convolve(self.pad(x), self.weight, self.bias, self.groups)

    @property
    def factory(self) -> dict[str, Any]:
        """Where further parameters belong: device and dtype of the kernel."""
        return {"device": self.weight.device, "dtype": self.weight.dtype}

    def held(self) -> Iterable[str]:
        return ("weight",) if self.bias is None else ("weight", "bias")

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        return {"weight": self.weight, "bias": self.bias}

    def static_obstacle(self) -> str | None:
        moved = any(head.has_moved for head in self.heads())
        return f"has {self.learned} that depend on its input" if moved else None

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name in ("weight", "bias"):
            return Part("rest", decays=name == "weight")
        return super().part(name, parameter)


def doubled_sigmoid(theta: Tensor) -> Tensor:
    """Return ``2 sigmoid(theta)``: exactly 1 at 0, between 0 and 2."""
    return 2 * torch.sigmoid(theta)


def _copied(parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
