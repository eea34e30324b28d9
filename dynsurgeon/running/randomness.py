"""The random state of Python, NumPy and torch: models draw from any of the three.

All three are the process's. What another thread draws while this one has seeded them comes from
that seed, and comes again afterwards; a thread that must not notice draws from generators of its
own. Nor could two threads seed at once, so one waits for the other.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
import torch

RandomState = tuple[Any, Any, torch.Tensor]

_turn = RLock()


def random_state() -> RandomState:
    """Return the state of the generators on the CPU."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def same_random_state(one: RandomState, other: RandomState) -> bool:
    """Whether nothing was drawn between two states."""
    kept = one[0] == other[0] and torch.equal(one[2], other[2])
    return kept and all(np.array_equal(a, b) for a, b in zip(one[1], other[1], strict=True))


@contextmanager
def forked_random(devices: Iterable[int] = ()) -> Iterator[None]:
    """Put the generators, those of these CUDA devices too, back on exit.

    One thread at a time is in here; others wait. What must not happen twice at once for another
    reason, such as a trace by torch.fx, is safe in here too.
    """
    with _turn, kept_random(devices):
        yield


@contextmanager
def kept_random(devices: Iterable[int] = ()) -> Iterator[None]:
    """Put the generators back on exit, for what takes so long that no thread should wait for it."""
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
    seed_torch(seed)


def seed_torch(seed: int) -> None:
    """Seed torch's generators, on the CPU and on an accelerator that is in use.

    `torch.manual_seed` also notes the seed for accelerators that nobody has used yet. Each call
    formats the whole stack for that, a hundred times the cost of the seed, and what is put back
    later is not: the first draw on a GPU would come from a seed of ours.
    """
    torch.default_generator.manual_seed(seed)
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None:
        return
    module: Any = torch.get_device_module(accelerator)
    if getattr(module, "is_initialized", _always)():
        getattr(module, "manual_seed_all", module.manual_seed)(seed)


def _always() -> bool:
    return True
