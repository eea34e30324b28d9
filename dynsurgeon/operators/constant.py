"""Base of the layers that keep the static convolution's one kernel, and do something around it.

Their kernels are constants of an exported graph: any batch, any runtime.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.operators.bank_guard import check_replaced
from dynsurgeon.operators.contract import ConvolutionLayer, Part, StaticConv
from dynsurgeon.operators.geometry import ConvGeometry, edges_of


class ConstantConvolution(ConvolutionLayer):
    """A convolution with a constant kernel.

    Attributes:
        weight: The static convolution's kernel.
        bias: Its bias, or None.
        geometry: Its stride, padding and the like.
        learned: What its heads say, as a person calls it.
    """

    learned: ClassVar[str] = "scales"
    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, static: StaticConv) -> None:
        super().__init__()
        self.in_channels, self.out_channels = static.in_channels, static.out_channels
        self.kernel_size, self.stride = static.kernel_size, static.stride
        self.padding, self.dilation = static.padding, static.dilation
        self.groups, self.padding_mode = static.groups, static.padding_mode
        self.geometry, self._edges = ConvGeometry.of(static), edges_of(static)
        self.weight = _copied(static.weight)
        bias = static.bias
        self.register_parameter("bias", None if bias is None else _copied(bias))

    def __setattr__(self, name: str, value: Any) -> None:
        check_replaced(self, name, value)
        super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == self.geometry.spatial + 1:
            return self.compute(x.unsqueeze(0)).squeeze(0)
        return self.compute(x)

    def compute(self, x: Tensor) -> Tensor:
        """Compute the layer on a batch ``(N, C_in, *spatial)``."""
        raise NotImplementedError

    def convolve(self, x: Tensor) -> Tensor:
        """Compute what the static convolution computes."""
        return self.geometry.convolve(self.pad(x), self.weight, self.bias, self.groups)

    def pad(self, x: Tensor) -> Tensor:
        """Pad with something else than zeros, if the static convolution does."""
        return x if self._edges is None else F.pad(x, self._edges, mode=self.padding_mode)

    def spread(self, scale: Tensor) -> Tensor:
        """Return numbers a channel ``(N, C)`` in a form that multiplies maps."""
        return scale.view(*scale.shape, *[1] * self.geometry.spatial)

    @property
    def factory(self) -> dict[str, Any]:
        """Where further parameters belong: device and dtype of the kernel."""
        return {"device": self.weight.device, "dtype": self.weight.dtype}

    def freeze_like(self, static: StaticConv) -> None:
        """Let every further parameter learn only if the kernel does."""
        own = {id(self.weight), id(self.bias)}
        for parameter in self.parameters():
            if id(parameter) not in own:
                parameter.requires_grad_(static.weight.requires_grad)
        self.train(static.training)

    def held(self) -> Iterable[str]:
        return ("weight",) if self.bias is None else ("weight", "bias")

    def static_parameters(self) -> dict[str, nn.Parameter | None]:
        return {"weight": self.weight, "bias": self.bias}

    def static_obstacle(self) -> str | None:
        layers = [head.last for head in self.heads()]
        moved = any(bool(p.any()) for layer in layers for p in layer.parameters())
        return f"has {self.learned} that depend on its input" if moved else None

    def part(self, name: str, parameter: nn.Parameter) -> Part:
        if name in ("weight", "bias"):
            return Part("rest", decays=name == "weight")
        return super().part(name, parameter)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}, padding={self.padding}, groups={self.groups}"
        return f"{text}, bias={self.bias is not None}"


def doubled_sigmoid(theta: Tensor) -> Tensor:
    """Return ``2 sigmoid(theta)``: exactly 1 at 0, between 0 and 2."""
    return 2 * torch.sigmoid(theta)


def _copied(parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
