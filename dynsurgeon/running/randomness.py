"""The random state of Python, NumPy and torch: models draw from any of the three."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

RandomState = tuple[Any, Any, torch.Tensor]


def random_state() -> RandomState:
    """Return the state of the generators on the CPU."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def same_random_state(one: RandomState, other: RandomState) -> bool:
    """Whether nothing was drawn between two states."""
    kept = one[0] == other[0] and torch.equal(one[2], other[2])
    return kept and all(np.array_equal(a, b) for a, b in zip(one[1], other[1], strict=True))


@contextmanager
def forked_random(devices: Iterable[int] = ()) -> Iterator[None]:
    """Put the generators, those of these CUDA devices too, back on exit."""
    python, numpy, _ = random_state()
    with torch.random.fork_rng(devices=sorted(devices)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def seed_random(seed: int) -> None:
    """Seed all generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
