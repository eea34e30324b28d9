"""How the filters of a kernel bank lie in memory, noted at the bank for whoever rounds it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

FILTERS = "dynsurgeon.filters"
"""Key of a value's `Filters` among its `meta`, where its name doesn't tell."""


@dataclass(frozen=True)
class Filters:
    """How filters lie in the memory of a bank.

    Attributes:
        length: Numbers of a filter.
        columns: Filters side by side, number by number; 1 where they lie one after the other.
        kernels: Kernels in the bank; 1 where they are not to be rounded one after the other.
    """

    length: int
    columns: int = 1
    kernels: int = 1


def note_filters(value: ir.Value, filters: Filters) -> None:
    """Note how the filters of a bank lie, for `filters_of`."""
    value.meta[FILTERS] = filters


def filters_of(value: ir.Value) -> Filters | None:
    """Return what `note_filters` noted, or None."""
    filters = value.meta.get(FILTERS)
    return filters if isinstance(filters, Filters) else None
