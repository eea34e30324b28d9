"""Notice whether this thread draws random numbers.

The generators are the process's: that one of them has moved on may be another thread's doing. What
torch draws is seen here operator by operator, and in this thread alone. Python's and NumPy's
generators tell only that somebody drew; so who would blame this thread asks more than once.
"""

from __future__ import annotations

import random
from typing import Any, Self

import numpy as np
import torch

from dynsurgeon.compat import TorchDispatchMode


class Draws:
    """Watches the generators while it is entered.

    Attributes:
        found: Whether something drew.
    """

    def __init__(self) -> None:
        self.found = False
        self._operators: Any = _Operators()
        self._before: tuple[Any, ...] = ()

    def __enter__(self) -> Self:
        self._before = _state()
        self._operators.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._operators.__exit__(*error)
        self.found |= self._operators.drew or self._before != _state()


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drew = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        own = isinstance(kwargs.get("generator"), torch.Generator)
        self.drew |= torch.Tag.nondeterministic_seeded in func.tags and not own
        return func(*args, **kwargs)


def _state() -> tuple[Any, ...]:
    numpy: Any = np.random.get_state()
    parts = (part.tobytes() if isinstance(part, np.ndarray) else part for part in numpy)
    return random.getstate(), tuple(parts), torch.initial_seed()
