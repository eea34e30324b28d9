"""Count the floating-point operations of what this thread runs."""

from __future__ import annotations

from typing import Any

from torch.utils.flop_counter import FlopCounterMode


class FlopCounter(FlopCounterMode):
    """torch's counter, without saying which module the operations belong to.

    For that torch hooks all modules of the process, and the gradients of what other threads train.
    """

    def __init__(self) -> None:
        super().__init__(display=False)
        self.mod_tracker: Any = _Nowhere()


class _Nowhere:
    """Stands for torch's `ModuleTracker`: everything runs in the whole."""

    parents = frozenset({"Global"})
    is_bw = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass
