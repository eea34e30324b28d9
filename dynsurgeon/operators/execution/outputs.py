"""*outputs*: one convolution with all K kernels, then a mixture of the K maps.

    y = y_1 + sum_{k>1} pi_k (y_k - y_1)                y_k = W_k * x

K times the multiply-adds, but no kernel is mixed: the algorithm of maps so small that a kernel for
each sample outweighs them. The bank is used as it lies in memory. Not for grouped convolutions,
whose kernels don't lie side by side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Gradients, Needs, Operands, layout_of
from dynsurgeon.operators.execution.columns import unfold
from dynsurgeon.operators.execution.function import CallableAlgorithm
from dynsurgeon.operators.geometry import ConvGeometry


class Outputs(CallableAlgorithm):
    """Mix the maps of all kernels; keeps these K maps for the backward."""

    name = "outputs"

    def convolve(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, Tensor]:
        """Convolve once, to ``K * C_out`` channels."""
        maps = geometry.convolve(x, weight.flatten(0, 1), None, 1)
        maps = maps.contiguous(memory_format=layout_of(x))
        first, *others = maps.chunk(weight.shape[0], dim=1)
        y = first.clone(memory_format=layout_of(x))
        for k, other in enumerate(others, start=1):
            y.addcmul_(_broadcast(pi[:, k], x), other - first)
        return y, maps

    def kept_channels(self, weight: Tensor, geometry: ConvGeometry) -> int:
        """All K maps are kept."""
        return weight.shape[0] * weight.shape[1]

    def gradients(self, grad: Tensor, of: Operands, kept: Tensor | None, needs: Needs) -> Gradients:
        """Scale the gradient by each kernel's attention, and differentiate the one convolution."""
        x, pi, weight, geometry = of
        experts = weight.shape[0]
        assert kept is not None
        for_pi = None
        if needs.pi:
            products = [(each * grad).flatten(1).sum(1) for each in kept.chunk(experts, dim=1)]
            for_pi = torch.stack(products, dim=1)
        scaled = torch.cat([grad * _broadcast(pi[:, k], grad) for k in range(experts)], dim=1)
        by_product = geometry.spatial == 2
        for_x, for_weight = geometry.convolve_backward(
            scaled, x, weight.flatten(0, 1), 1, needs.x, needs.weight and not by_product
        )
        if needs.weight and by_product:
            for_weight = _by_product(scaled, x, weight, geometry)
        return Gradients(for_x, for_pi, None if for_weight is None else for_weight.view_as(weight))


def _broadcast(share: Tensor, x: Tensor) -> Tensor:
    return share.view(-1, *[1] * (x.dim() - 1))


def _by_product(grad: Tensor, x: Tensor, weight: Tensor, geometry: ConvGeometry) -> Tensor:
    """The kernels' gradient as one product: on small maps twice as fast as oneDNN's."""
    columns = unfold(x, weight, geometry)
    flat = columns.transpose(0, 1).reshape(columns.shape[1], -1)
    return grad.flatten(2).transpose(0, 1).reshape(grad.shape[1], -1) @ flat.t()
