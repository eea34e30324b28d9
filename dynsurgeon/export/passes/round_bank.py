"""A bank in 8 bits: whole numbers, and a scale for each piece of a filter.

    bank = whole * scale,   |whole| <= 127,   scale = largest of the piece / 127

A piece never reaches over two filters: BatchNorm, folded into the kernels, leaves filters of very
different size side by side. A filter of more than `PIECE` numbers has several pieces, which makes
it more exact at a few bytes more.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import onnx_ir as ir
import torch
from torch import Tensor

PIECE = 256
"""Numbers of a piece, at most: a scale then costs 1.6 % of what it scales."""

RUN = "dynsurgeon.run"
"""Key of a value's `Run` among its `meta`, where its name doesn't tell."""


@dataclass(frozen=True)
class Run:
    """How filters lie in the memory of a bank.

    Attributes:
        length: Numbers of a filter.
        columns: Filters side by side, number by number; 1 where they lie one after the other.
    """

    length: int
    columns: int = 1


def note_run(value: ir.Value, run: Run) -> None:
    """Note how the filters of a bank lie, for `run_of`."""
    value.meta[RUN] = run


def run_of(value: ir.Value) -> Run | None:
    """Return what `note_run` noted, or None."""
    run = value.meta.get(RUN)
    return run if isinstance(run, Run) else None


def to_int8(bank: Tensor, run: Run) -> tuple[Tensor, Tensor]:
    """Return whole numbers ``(pieces, numbers, columns)`` and scales ``(pieces, 1, columns)``.

    Args:
        bank: The bank, in the order in which it is stored.
        run: How filters lie in it.
    """
    columns = run.columns if bank.shape[-1] % run.columns == 0 else 1
    pieces = bank.reshape(-1, _piece(bank, run, columns), columns)
    scales = pieces.abs().amax(1, keepdim=True) / 127
    divisors = torch.where(scales > 0, scales, torch.ones_like(scales))
    return (pieces / divisors).round().clamp(-127, 127).to(torch.int8), scales


def _piece(bank: Tensor, run: Run, columns: int) -> int:
    """Return the most numbers that divide both a filter and a row of the bank."""
    common = gcd(run.length, bank.numel() // columns)
    if bank.dim() < 4:  # tiles and flat kernels: a row may end within a filter
        common = gcd(common, bank.shape[-1] // columns)
    return max(size for size in range(1, min(common, PIECE) + 1) if common % size == 0)
