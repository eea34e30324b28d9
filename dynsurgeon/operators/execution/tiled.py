"""*tiled*: unfolded inputs times mixed kernels, a tile of output channels at a time.

The kernels of all samples are mixed for a few output channels into a buffer that stays in the
cache, multiplied, and forgotten. The algorithm of middling maps, and of 1x1 kernels, whose input
needs no unfolding. Two spatial axes, no groups.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dynsurgeon.operators.execution.algorithm import Gradients, Needs, Operands
from dynsurgeon.operators.execution.columns import refold, unfold
from dynsurgeon.operators.execution.function import CallableAlgorithm
from dynsurgeon.operators.execution.mixing import mix
from dynsurgeon.operators.geometry import ConvGeometry

TILE_BYTES = 8_000_000
"""Size of the buffer. A quarter of it makes products too thin, three times as much leaves the
cache; both measured slower on most layers of resnet18 (32 MB of third-level cache)."""


class Tiled(CallableAlgorithm):
    """Multiply per-sample matrices, tile by tile; the backward mixes and unfolds again."""

    name = "tiled"

    def convolve(
        self, x: Tensor, pi: Tensor, weight: Tensor, geometry: ConvGeometry
    ) -> tuple[Tensor, None]:
        """Return the product of each sample's kernel matrix with its columns."""
        columns = unfold(x, weight, geometry)
        y = x.new_empty(len(x), weight.shape[1], columns.shape[2])
        for rows, bank, tile in _tiles(weight, x):
            mix(pi, bank, out=tile)
            y[:, rows] = torch.bmm(tile.view(len(x), -1, columns.shape[1]), columns)
        return y.view(len(x), -1, *geometry.out_sizes(x, weight)), None

    def gradients(self, grad: Tensor, of: Operands, kept: Tensor | None, needs: Needs) -> Gradients:
        """Walk the tiles again: to the columns with each mixed kernel, then to bank and pi."""
        x, pi, weight, geometry = of
        columns, flat = unfold(x, weight, geometry), grad.flatten(2)
        for_columns = torch.zeros_like(columns) if needs.x else None
        for_pi = torch.zeros_like(pi) if needs.pi else None
        for_weight = torch.empty_like(weight) if needs.weight else None
        for rows, bank, tile in _tiles(weight, x):
            matrices = tile.view(len(x), -1, columns.shape[1])
            if for_columns is not None:
                mix(pi, bank, out=tile)
                for_columns.baddbmm_(matrices.transpose(1, 2), flat[:, rows])
            torch.bmm(flat[:, rows], columns.transpose(1, 2), out=matrices)
            if for_pi is not None:
                for_pi.addmm_(tile, bank.t())
            if for_weight is not None:
                for_weight[:, rows] = (pi.t() @ tile).view_as(for_weight[:, rows])
        for_x = None if for_columns is None else refold(for_columns, x, weight, geometry)
        return Gradients(for_x, for_pi, for_weight)


def _tiles(weight: Tensor, x: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield output channels, their bank ``(K, M)``, and a buffer ``(N, M)``, always the same."""
    experts, channels = weight.shape[:2]
    size = weight[0, 0].numel()
    each = max(1, min(channels, TILE_BYTES // (len(x) * size * x.element_size())))
    buffer = x.new_empty(len(x) * each * size)
    for start in range(0, channels, each):
        rows = slice(start, min(start + each, channels))
        bank = weight[:, rows].reshape(experts, -1)
        yield rows, bank, buffer[: len(x) * bank.shape[1]].view(len(x), -1)
