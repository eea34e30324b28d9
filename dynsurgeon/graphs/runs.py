"""How the filters of a kernel bank lie in memory, noted at the bank for whoever rounds it."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

RUN = "dynsurgeon.run"
"""Key of a value's `Run` among its `meta`, where its name doesn't tell."""


@dataclass(frozen=True)
class Run:
    """How filters lie in the memory of a bank.

    Attributes:
        length: Numbers of a filter.
        columns: Filters side by side, number by number; 1 where they lie one after the other.
        kernels: Kernels in the bank; 1 where they are not to be rounded one after the other.
    """

    length: int
    columns: int = 1
    kernels: int = 1


def note_run(value: ir.Value, run: Run) -> None:
    """Note how the filters of a bank lie, for `run_of`."""
    value.meta[RUN] = run


def run_of(value: ir.Value) -> Run | None:
    """Return what `note_run` noted, or None."""
    run = value.meta.get(RUN)
    return run if isinstance(run, Run) else None
