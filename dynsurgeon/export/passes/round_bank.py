"""A bank in 8 bits: whole numbers, and a scale for each piece of a filter.

    bank = whole * scale,   |whole| <= 127,   scale = largest of the piece / 127

A piece never reaches over two filters: BatchNorm, folded into the kernels, leaves filters of very
different size side by side. A filter of more than `PIECE` numbers has several pieces.

What a kernel loses is added to the next one before that is rounded (error feedback), so that the
kernels' sum loses no more than one of them does. Attention mixes them about evenly at the start,
where they are all the same and would else all lose the same; there the mixture is K times as exact.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor

from dynsurgeon.graphs.filters import Filters

PIECE = 256
"""Numbers of a piece, at most: a scale then costs 1.6 % of what it scales."""

TILE_AXES = 3


def to_int8(bank: Tensor, filters: Filters) -> tuple[Tensor, Tensor]:
    """Return whole numbers ``(pieces, numbers, columns)`` and scales ``(pieces, 1, columns)``.

    Args:
        bank: The bank, in the order in which it is stored: ``(K, numbers)``, in tiles
            ``(T, K, numbers)``, or ``(O, K * I, …)``.
        filters: How filters lie in it.
    """
    rows = _by_kernel(bank, filters)
    columns = filters.columns if rows.shape[2] % filters.columns == 0 else 1
    common = gcd(filters.length, rows.shape[2] // columns)
    size = max(size for size in range(1, min(common, PIECE) + 1) if common % size == 0)
    pieces = rows.reshape(*rows.shape[:2], -1, size, columns)
    scales = pieces.abs().amax(3, keepdim=True) / 127
    whole = _rounded(pieces, torch.where(scales > 0, scales, torch.ones_like(scales)))
    return whole.to(torch.int8).flatten(0, 2), scales.flatten(0, 2)


def _by_kernel(bank: Tensor, filters: Filters) -> Tensor:
    """Return the bank as ``(repetitions, kernels, numbers)``."""
    if bank.dim() < TILE_AXES:
        return bank.reshape(1, -1, bank.shape[-1])
    whole = bank.shape[1] % filters.kernels == 0
    return bank.reshape(len(bank), filters.kernels if whole else 1, -1)


def _rounded(pieces: Tensor, scales: Tensor) -> Tensor:
    """Round the kernels, on axis 1, one after the other; what one loses goes to the next."""
    rounded, lost = [], torch.zeros_like(pieces[:, 0])
    for kernel, scale in zip(pieces.unbind(1), scales.unbind(1), strict=True):
        wanted = kernel + lost
        whole = (wanted / scale).round().clamp(-127, 127)
        lost = wanted - whole * scale
        rounded.append(whole)
    return torch.stack(rounded, 1)
