from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dynsurgeon.running.randomness import (
    forked_random,
    random_state,
    same_random_state,
    seed_random,
)

DRAWS: list[Callable[[], object]] = [
    random.random,
    lambda: np.random.rand(),
    lambda: torch.rand(1),
    lambda: torch.rand(1, generator=torch.Generator()),
]


@pytest.mark.parametrize("draw", DRAWS[:3])
def test_a_draw_from_any_generator_is_noticed_and_undone(draw: Callable[[], object]) -> None:
    before = random_state()
    assert same_random_state(before, random_state())
    with forked_random():
        draw()
        assert not same_random_state(before, random_state())
    assert same_random_state(before, random_state())


def test_a_generator_of_ones_own_is_nobodys_business() -> None:
    before = random_state()
    DRAWS[3]()
    assert same_random_state(before, random_state())


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 7])
def test_a_seed_seeds_all_three(seed: int) -> None:
    with forked_random():
        seed_random(seed)
        first = [draw() for draw in DRAWS[:3]]
        seed_random(seed)
        assert [draw() for draw in DRAWS[:3]] == first
        seed_random(seed + 1)
        assert [draw() for draw in DRAWS[:3]] != first
