"""A bank in tiles, so that mixing one kernel runs at the speed of memory.

    (K, M)  ->  (T, K, M / T)         MatMul(pi, tiles) = (T, 1, M / T), the mixed kernel in order

onnxruntime packs the constant matrix of a product into a second copy, which doubles the memory of
every bank, and reads that slower than it could. It doesn't pack a product of three axes, and shares
its tiles out over the cores: 55 GB/s instead of 51 for a bank of 512 x 512 x 3 x 3, with both ways
timed in one run on two cores (benchmarks/onnx_mix.py).
"""

from __future__ import annotations

import numpy as np

from dynsurgeon.graphs.initializers import Array

MOST_IN_TILE = 40_000
"""Numbers of a kernel in a tile; its K rows then fit into a core's cache beside their sum."""


def to_tiles(bank: Array) -> Array:
    """Return the bank ``(K, *kernel)`` in tiles ``(T, K, numbers of a kernel / T)``."""
    flat = bank.reshape(len(bank), -1)
    rows = flat.reshape(len(flat), tile_count(flat.shape[1]), -1)
    return np.ascontiguousarray(rows.swapaxes(0, 1))


def from_tiles(tiles: Array) -> Array:
    """Return tiles as the bank ``(K, numbers of a kernel)``."""
    return tiles.swapaxes(0, 1).reshape(tiles.shape[1], -1)


def tile_count(size: int) -> int:
    """Return the least number of equal tiles of a kernel of `size` numbers; 1 if it has none."""
    least = -(-size // MOST_IN_TILE)
    counts = range(least, min(4 * least, size) + 1)
    return next((count for count in counts if size % count == 0), 1)
