"""Who draws random numbers."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from threads import elsewhere
from torch import nn

from dynsurgeon.running.draws import Draws


@pytest.mark.parametrize(
    "draw",
    [
        random.random,
        lambda: np.random.rand(),
        lambda: torch.rand(1),
        lambda: torch.randperm(3),
        lambda: torch.zeros(3).uniform_(),
        lambda: torch.nn.functional.dropout(torch.ones(3)),
        lambda: torch.bernoulli(torch.ones(3)),
        lambda: torch.manual_seed(5),
    ],
)
def test_a_draw_is_noticed(draw: Callable[[], object]) -> None:
    with Draws() as draws:
        draw()
    assert draws.found


def test_a_generator_of_ones_own_is_nobodys_business() -> None:
    with Draws() as draws:
        torch.rand(1, generator=torch.Generator())
        torch.ones(2) @ torch.ones(2)
    assert not draws.found


def test_what_another_thread_draws_from_torch_is_not_blamed_on_this_one() -> None:
    with Draws() as draws:
        elsewhere(lambda: (torch.rand(3), nn.Linear(2, 2), nn.Dropout()(torch.ones(3))))
    assert not draws.found
