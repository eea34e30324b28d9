"""*pointwise*: a 1x1 convolution in channels_last as one product of matrices a sample.

The map ``(N, H W, C)`` is read and written as it lies in memory. No groups, no padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Gradients, Needs, Operands
from dynsurgeon.operators.execution.function import CallableAlgorithm
from dynsurgeon.operators.execution.mixing import mix, unmix
from dynsurgeon.operators.geometry import ConvGeometry


class Pointwise(CallableAlgorithm):
    """Multiply each sample's places by its own kernel."""

    name = "pointwise"

    def convolve(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, None]:
        """Return the map in channels_last."""
        y = torch.bmm(_rows(x, geometry), _kernels(pi, weight).transpose(1, 2))
        return _map(y, geometry.out_sizes(x, weight)), None

    def gradients(self, grad: Tensor, of: Operands, kept: Tensor | None, needs: Needs) -> Gradients:
        """Two products a sample."""
        x, pi, weight, geometry = of
        flat = _rows(grad, None)
        for_x = None
        if needs.x:
            by_rows = _map(torch.bmm(flat, _kernels(pi, weight)), list(grad.shape[2:]))
            for_x = _spread(by_rows, x, geometry)
        mixed = torch.bmm(flat.transpose(1, 2), _rows(x, geometry)).flatten(1)
        for_pi, for_bank = unmix(mixed, pi, weight.flatten(1), needs)
        return Gradients(for_x, for_pi, None if for_bank is None else for_bank.view(weight.shape))


def _rows(x: Tensor, geometry: ConvGeometry | None) -> Tensor:
    if geometry is not None:
        rows, columns = geometry.stride
        x = x[:, :, ::rows, ::columns]
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _map(rows: Tensor, sizes: list[int]) -> Tensor:
    return rows.view(len(rows), *sizes, -1).permute(0, 3, 1, 2)


def _kernels(pi: Tensor, weight: Tensor) -> Tensor:
    return mix(pi, weight.flatten(1)).view(len(pi), weight.shape[1], weight.shape[2])


def _spread(grad: Tensor, x: Tensor, geometry: ConvGeometry) -> Tensor:
    """Put the gradient of every stride-th place where it belongs."""
    if set(geometry.stride) == {1}:
        return grad
    rows, columns = geometry.stride
    spread = torch.zeros_like(x)
    spread[:, :, ::rows, ::columns] = grad
    return spread
