"""What runs instead of the usual choice, while a context lasts: for export, and to compare ways."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

T = TypeVar("T")


class Forced(Generic[T]):
    """A choice that ``with forced(value):`` makes for this thread.

    Args:
        name: Name of the context variable that holds it.
    """

    def __init__(self, name: str) -> None:
        self._chosen: ContextVar[T | None] = ContextVar(name, default=None)

    @contextmanager
    def __call__(self, value: T) -> Iterator[None]:
        """Choose `value` in this context."""
        token = self._chosen.set(value)
        try:
            yield
        finally:
            self._chosen.reset(token)

    def get(self) -> T | None:
        """Return what was chosen, or None outside of any such context."""
        return self._chosen.get()
