"""Base of the layers that stand for a convolution of any geometry."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dynsurgeon.operators.bank_guard import check_replaced
from dynsurgeon.operators.contract import ConvolutionLayer, StaticConv
from dynsurgeon.operators.geometry import ConvGeometry, edges_of


class ConvolvingLayer(ConvolutionLayer):
    """A layer with the geometry of a static convolution.

    The attributes of the static class (`in_channels`, `kernel_size`, `stride`, …) are there under
    the same names.

    Attributes:
        weight: The kernel, or a bank of kernels.
        bias: The bias, or a bank of biases, or None.
        geometry: Stride, padding and the like.

    Shape:
        As the static convolution, without a batch axis too.
    """

    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    output_padding: tuple[int, ...]
    geometry: ConvGeometry
    weight: nn.Parameter
    bias: nn.Parameter | None

    def copy_geometry(self, static: StaticConv) -> None:
        """Take over everything of a static convolution but its numbers."""
        for name in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation"):
            setattr(self, name, getattr(static, name))
        self.groups, self.padding_mode = static.groups, static.padding_mode
        self.transposed, self.output_padding = static.transposed, static.output_padding
        self.geometry, self._edges = ConvGeometry.of(static), edges_of(static)

    def learn_like(self, static: StaticConv) -> None:
        """Let every further parameter learn only if the kernel does, and take over the mode."""
        own = {id(self.weight), id(self.bias)}
        for parameter in self.parameters():
            if id(parameter) not in own:
                parameter.requires_grad_(static.weight.requires_grad)
        self.train(static.training)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == self.geometry.spatial + 1:
            return self.compute(x.unsqueeze(0)).squeeze(0)
        return self.compute(x)

    def compute(self, x: Tensor) -> Tensor:
        """Compute the layer on a batch ``(N, C_in, *spatial)``."""
        raise NotImplementedError

    def pad(self, x: Tensor) -> Tensor:
        """Pad with something else than zeros, if the static convolution does."""
        return x if self._edges is None else F.pad(x, self._edges, mode=self.padding_mode)

    def __setattr__(self, name: str, value: Any) -> None:
        check_replaced(self, name, value)
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}, padding={self.padding}, groups={self.groups}"
        return f"{text}, bias={self.bias is not None}"
