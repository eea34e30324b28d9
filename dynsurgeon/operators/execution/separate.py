"""*separate*: one convolution a sample, each with its own mixed kernel.

The algorithm of large maps in channels_last, where folding the batch into the groups would copy
each map twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Gradients, Needs, Operands, layout_of
from dynsurgeon.operators.execution.function import CallableAlgorithm
from dynsurgeon.operators.execution.mixing import mix, unmix
from dynsurgeon.operators.geometry import ConvGeometry


class Separate(CallableAlgorithm):
    """Convolve sample by sample; the backward mixes the kernels again."""

    name = "separate"

    def convolve(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, None]:
        """Convolve N times."""
        maps = [
            geometry.convolve(sample, kernel, None, geometry.groups)
            for sample, kernel in zip(torch.split(x, 1), _kernels(pi, weight), strict=True)
        ]
        return torch.cat(maps).contiguous(memory_format=layout_of(x)), None

    def gradients(self, grad: Tensor, of: Operands, kept: Tensor | None, needs: Needs) -> Gradients:
        """Differentiate each convolution, and unmix the kernels' gradients."""
        x, pi, weight, geometry = of
        kernels = _kernels(pi, weight)
        for_x = torch.empty_like(x) if needs.x else None
        mixed = torch.empty_like(kernels) if needs.pi or needs.weight else None
        for n, kernel in enumerate(kernels):
            by_x, by_kernel = geometry.convolve_backward(
                grad[n : n + 1], x[n : n + 1], kernel, geometry.groups, needs.x, mixed is not None
            )
            if for_x is not None and by_x is not None:
                for_x[n] = by_x[0]
            if mixed is not None and by_kernel is not None:
                mixed[n] = by_kernel
        if mixed is None:
            return Gradients(for_x, None, None)
        for_pi, for_bank = unmix(mixed.flatten(1), pi, weight.flatten(1), needs)
        return Gradients(for_x, for_pi, None if for_bank is None else for_bank.view(weight.shape))


def _kernels(pi: Tensor, weight: Tensor) -> Tensor:
    return mix(pi, weight.flatten(1)).view(len(pi), *weight.shape[1:])
