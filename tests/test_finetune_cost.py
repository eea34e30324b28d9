"""The latency at the end of a run, and what a gain costs."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from finetune_helpers import QUICK, SHAPE, blobs, dynamic_net, finetune_result
from torch import Tensor, nn

import dynsurgeon as ds
from dynsurgeon.training.finetune import cost
from dynsurgeon.training.finetune.cost import Cost, measure_cost


class Slow(nn.Module):
    """Takes its time, and notes how it is called."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.scale = seconds, nn.Parameter(torch.ones(1))
        self.seen: list[tuple[int, ...]] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.seen.append(tuple(x.shape))
        time.sleep(self.seconds)
        return x * self.scale


def test_networks_are_timed_in_turn_on_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ROUNDS", 5)
    slow, fast = Slow(0.02), Slow(0.005)
    found = measure_cost(slow, fast, torch.zeros(SHAPE))
    assert found.ratio > 1.5
    assert found.dynamic_ms > found.static_ms >= 5
    assert (found.device, found.rounds) == ("cpu", 5)
    assert set(slow.seen) == {(1, *SHAPE)}
    assert len(slow.seen) == len(fast.seen)


def test_it_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "SECONDS", 0.1)
    assert measure_cost(Slow(0.02), Slow(0.02), torch.zeros(SHAPE)).rounds < 10


def result(ratio: float) -> ds.FinetuneResult:
    return finetune_result(cost=Cost("cpu", 1, 10.0, 10 * ratio, ratio, 0.01, 50))


def test_a_gain_is_divided_by_the_percents_that_it_costs() -> None:
    found = result(1.25)
    assert found.gain_per_percent == pytest.approx(5 / 25)
    assert found.to_dict()["gain_per_percent"] == found.gain_per_percent
    assert "latency 1.25 of the static network's, 12.50 against 10.00 ms (torch, batch 1" in str(
        found
    )
    assert result(0.9).gain_per_percent is None  # it is free
    assert replace(found, gain=None).gain_per_percent is None


@pytest.mark.parametrize("changes", [{}, {"baseline": True, "latency": False}])
def test_nothing_is_timed_without_a_twin_or_if_not_wanted(
    changes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "interleaved", None)
    settings = ds.FinetuneSettings(**{**QUICK, "cpu": True, "epochs": 1, **changes})
    assert ds.finetune(dynamic_net(), blobs(), settings).cost is None
