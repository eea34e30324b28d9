"""How onnxruntime's CPU provider lays the kernels of a convolution out in memory.

Its fast convolutions read blocks of 8 or 16 channels side by side (NCHWc; 8 with AVX2, 16 with
AVX-512). Kernels are stored as the vector unit reads them:

    plain     (O, I, h, w)                        as in the ONNX file
    OIHWBiBo  (O/b, I/b, h, w, b_i, b_o)          input in blocks
    OIHWBo    (O/b, I, h, w, b_o)                 input in one row a channel, and depthwise

Channels are filled up to whole blocks with zeros. Nothing here is taken on trust: a layout counts
only where it reproduces, bit for bit, what onnxruntime itself made of a known kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from dynsurgeon.graphs.initializers import Array

BLOCKS = (16, 8)
"""Widths of a block, in channels."""


@dataclass(frozen=True)
class Memory:
    """One layout of a kernel.

    Attributes:
        name: Its name.
        block: Channels in a block; 1 where there are none.
        arrange: Turns one kernel ``(O, I/groups, h, w)`` into the numbers in their order in memory.
    """

    name: str
    block: int
    arrange: Callable[[Array], Array]

    def vector(self, values: Array) -> Array:
        """Fill a bias ``(…, O)`` up to whole blocks."""
        return _filled(values, values.ndim - 1, self.block)


def memories() -> Iterator[Memory]:
    """Yield every known layout, the plain one first."""
    yield Memory("plain", 1, lambda kernel: kernel)
    for block in BLOCKS:
        yield Memory(f"OIHW{block}i{block}o", block, partial(_both_blocked, block=block))
        yield Memory(f"OIHW{block}o", block, partial(_out_blocked, block=block))


def recognise(kernel: Array, stored: Array) -> Memory | None:
    """Return the layout in which `stored` holds `kernel`, or None."""
    for memory in memories():
        arranged = memory.arrange(kernel)
        if np.array_equal(arranged.ravel(), stored.ravel()):
            return memory
    return None


def _filled(kernel: Array, axis: int, block: int) -> Array:
    missing = -kernel.shape[axis] % block
    rest = kernel.ndim - 1 - axis
    return np.pad(kernel, [(0, 0)] * axis + [(0, missing)] + [(0, 0)] * rest)


def _out_blocked(kernel: Array, block: int) -> Array:
    filled = _filled(kernel, 0, block)
    return np.moveaxis(filled.reshape(-1, block, *filled.shape[1:]), 1, -1)


def _both_blocked(kernel: Array, block: int) -> Array:
    filled = _filled(_filled(kernel, 0, block), 1, block)
    out, into = (size // block for size in filled.shape[:2])
    split = filled.reshape(out, block, into, block, *filled.shape[2:])
    return np.moveaxis(np.moveaxis(split, 3, -1), 1, -1)
