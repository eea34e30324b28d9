"""What a model holds, written down so that a change of any bit or object shows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def belongings(model: nn.Module) -> dict[str, Any]:
    """Return every attribute, entry and tensor by its path: the object, and a tensor's bytes.

    Written on its own, not with the library's snapshot, which it judges.
    """
    found: dict[str, Any] = {}
    _note("model", model, found, set())
    return found


@contextmanager
def untouched(*models: nn.Module) -> Iterator[None]:
    """Fail, by name, if anything that these models hold is another object or has other bits."""
    before = [belongings(model) for model in models]
    try:
        yield
    finally:
        for model, held in zip(models, before, strict=True):
            now = belongings(model)
            assert list(now) == list(held)
            for path, (value, content) in held.items():
                assert now[path][0] is value, path
                assert now[path][1] == content, path


def _note(path: str, value: Any, found: dict[str, Any], seen: set[int]) -> None:
    found[path] = (value, _content(value))
    if isinstance(value, nn.Module) and id(value) not in seen:
        seen.add(id(value))
        value = vars(value)
    if isinstance(value, dict):
        for key, item in value.items():
            _note(f"{path}[{key!r}]", item, found, seen)
    elif isinstance(value, (list, tuple, deque)):
        for index, item in enumerate(value):
            _note(f"{path}[{index}]", item, found, seen)


def _content(value: Any) -> Any:
    if isinstance(value, set):
        return set(value)
    if not isinstance(value, Tensor):
        return None
    dense = value.detach().clone(memory_format=torch.contiguous_format).reshape(-1)
    raw: Any = np.asarray(dense.view(torch.uint8)) if dense.numel() else np.zeros(0)
    return raw.tobytes(), value.stride(), value.data_ptr(), value.requires_grad
