from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dynsurgeon.running.randomness import (
    forked_random,
    random_state,
    same_random_state,
    seed_random,
    seed_torch,
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


def test_a_seed_is_that_of_torch() -> None:
    with forked_random():
        torch.manual_seed(7)
        expected = torch.rand(3)
        seed_torch(7)
        assert torch.equal(torch.rand(3), expected)


def _seeds(**has: Any) -> tuple[list[int], Any]:
    seeds: list[int] = []
    return seeds, SimpleNamespace(manual_seed=seeds.append, **has)


@pytest.mark.parametrize(
    ("started", "expected"), [({"is_initialized": lambda: False}, []), ({}, [7])]
)
def test_an_accelerator_is_seeded_once_it_is_in_use(
    started: dict[str, Any], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Metal's has no way to ask; CUDA's, where nobody uses it, would note the seed for later.
    seeds, module = _seeds(**started)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    with kept_on_the_cpu():
        seed_torch(7)
    assert seeds == expected


def test_every_device_of_an_accelerator_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    everywhere: list[int] = []
    _, module = _seeds(is_initialized=lambda: True, manual_seed_all=everywhere.append)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    with kept_on_the_cpu():
        seed_torch(7)
    assert everywhere == [7]


@contextmanager
def kept_on_the_cpu() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)
