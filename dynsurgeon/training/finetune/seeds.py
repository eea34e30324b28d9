"""One random state for each thing that is drawn, as a function of what it is.

Nothing depends on what was drawn before: a resumed run draws what the whole run would have drawn,
and the order of samples is the same on any number of processes.
"""

from __future__ import annotations

import hashlib

from torch import Generator, Tensor, randperm


def seed_of(*parts: int | str) -> int:
    """Return the seed for what `parts` name, from 0 to 2^63 - 1."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def chosen_of(seed: int, count: int, most: int) -> Tensor:
    """Return at most so many of `count` samples ``(most,)``, chosen at random."""
    generator = Generator().manual_seed(seed_of("chosen", seed))
    return randperm(count, generator=generator)[:most]


def order_of(seed: int, epoch: int, count: int) -> Tensor:
    """Return the order ``(count,)`` in which an epoch goes through the training set."""
    return randperm(count, generator=Generator().manual_seed(seed_of("order", seed, epoch)))
