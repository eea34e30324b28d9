"""*folded*: a kernel mixed for each sample, samples folded into the groups of one convolution.

The algorithm of large maps, where mixing is small beside convolving. The batch is taken in chunks
whose kernels stay in the cache, one buffer for all: together they would be written to memory and
read again.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Gradients, Needs, Operands
from dynsurgeon.operators.execution.function import CallableAlgorithm
from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.geometry import ConvGeometry

CHUNK_BYTES = 4_000_000
"""Size of the buffer. Of 1, 2, 4, 8 and 64 MB the fastest, or close to it, on all layers tried."""


class Folded(CallableAlgorithm):
    """Fold chunks of the batch into the groups; the backward mixes the kernels again."""

    name = "folded"

    def convolve(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, None]:
        """Convolve once a chunk, with as many times the groups as it has samples."""
        maps = []
        for part, kernels in chunks(pi, weight):
            groups = len(kernels) * geometry.groups
            y = geometry.convolve(fold(x[part]), _stack(kernels), None, groups)
            maps.append(y.view(len(kernels), -1, *y.shape[2:]))
        return _join(maps), None

    def gradients(self, grad: Tensor, of: Operands, kept: Tensor | None, needs: Needs) -> Gradients:
        """Differentiate each of these convolutions, and unmix their kernels' gradients."""
        x, pi, weight, geometry = of
        bank = weight.flatten(1)
        for_x: list[Tensor] = []
        for_pi: list[Tensor] = []
        for_bank = torch.zeros_like(bank) if needs.weight else None
        for part, kernels in chunks(pi, weight):
            groups = len(kernels) * geometry.groups
            by_x, by_kernels = geometry.convolve_backward(
                fold(grad[part]), fold(x[part]), _stack(kernels), groups,
                needs.x, needs.pi or needs.weight,
            )  # fmt: skip
            if by_x is not None:
                for_x.append(by_x.view(x[part].shape))
            if by_kernels is not None:
                mixed = by_kernels.view(len(kernels), -1)
                if needs.pi:
                    for_pi.append(mixed @ bank.t())
                if for_bank is not None:
                    for_bank.addmm_(pi[part].t(), mixed)
        return Gradients(
            _join(for_x) if needs.x else None,
            _join(for_pi) if needs.pi else None,
            None if for_bank is None else for_bank.view(weight.shape),
        )


def chunks(pi: Tensor, weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield samples and their kernels ``(n, *kernel)``, in one buffer for all chunks."""
    bank, batch = weight.flatten(1), len(pi)
    each = max(1, min(batch, CHUNK_BYTES // (bank.shape[1] * bank.element_size())))
    buffer = bank.new_empty(each, bank.shape[1])
    for start in range(0, batch, each):
        part = slice(start, min(start + each, batch))
        kernels = mix(pi[part], bank, out=buffer[: part.stop - start])
        yield part, kernels.view(len(kernels), *weight.shape[1:])


def fold(x: Tensor) -> Tensor:
    """Lay the samples side by side as groups of channels."""
    return x.reshape(1, -1, *x.shape[2:])


def _stack(kernels: Tensor) -> Tensor:
    return kernels.flatten(0, 1)


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
