"""An image batch laid out as columns, so that a convolution is a product of matrices."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dynsurgeon.operators.geometry import ConvGeometry


def unfold(x: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """Lay ``(N, C, H, W)`` out as columns ``(N, C * kernel, places)``; a view where that is one."""
    kernel = weight.shape[3:]
    if geometry.is_pointwise(kernel):
        rows, columns = geometry.stride
        return x[:, :, ::rows, ::columns].flatten(2)
    return F.unfold(
        x, tuple(kernel), geometry.dilation, geometry.int_padding(kernel), geometry.stride
    )


def refold(columns: Tensor, x: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """Add columns up to an input of the shape of `x`: the transpose of `unfold`."""
    kernel = weight.shape[3:]
    if geometry.is_pointwise(kernel) and set(geometry.stride) == {1}:
        return columns.view(x.shape)
    return F.fold(
        columns,
        tuple(x.shape[2:]),
        tuple(kernel),
        geometry.dilation,
        geometry.int_padding(kernel),
        geometry.stride,
    )
