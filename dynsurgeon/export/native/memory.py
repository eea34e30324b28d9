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

import torch
from torch import Tensor
from torch.nn.functional import pad

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
    arrange: Callable[[Tensor], Tensor]

    def vector(self, values: Tensor) -> Tensor:
        """Fill a bias ``(…, O)`` up to whole blocks."""
        return _filled(values, values.dim() - 1, self.block)


def memories() -> Iterator[Memory]:
    """Yield every known layout, the plain one first."""
    yield Memory("plain", 1, lambda kernel: kernel)
    for block in BLOCKS:
        yield Memory(f"OIHW{block}i{block}o", block, partial(_both_blocked, block=block))
        yield Memory(f"OIHW{block}o", block, partial(_out_blocked, block=block))


def recognise(kernel: Tensor, stored: Tensor) -> Memory | None:
    """Return the layout in which `stored` holds `kernel`, or None."""
    for memory in memories():
        arranged = memory.arrange(kernel)
        if arranged.numel() == stored.numel() and torch.equal(arranged.flatten(), stored.flatten()):
            return memory
    return None


def _filled(kernel: Tensor, axis: int, block: int) -> Tensor:
    missing = -kernel.shape[axis] % block
    return pad(kernel, [0, 0] * (kernel.dim() - 1 - axis) + [0, missing]) if missing else kernel


def _out_blocked(kernel: Tensor, block: int) -> Tensor:
    filled = _filled(kernel, 0, block)
    return filled.view(-1, block, *filled.shape[1:]).movedim(1, -1).contiguous()


def _both_blocked(kernel: Tensor, block: int) -> Tensor:
    filled = _filled(_filled(kernel, 0, block), 1, block)
    out, into = (size // block for size in filled.shape[:2])
    split = filled.view(out, block, into, block, *filled.shape[2:])
    return split.movedim(3, -1).movedim(1, -1).contiguous()
