"""The rate that short runs choose: by a rule, on the training set alone, on any processes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from finetune_helpers import Blobs, blobs, dynamic_net, same_tensors, static_net
from torch import Tensor

import dynsurgeon as ds
from dynsurgeon.training.finetune import rate_probe
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.loading import Sharing
from dynsurgeon.training.finetune.rate_probe import choose, probe_rates
from dynsurgeon.training.finetune.results import RateProbe

AUTO = ds.FinetuneSettings(lr="auto", batch=8, epochs=1, cpu=True, latency=False)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rates of four steps."""
    monkeypatch.setattr(rate_probe, "LEAST", 4)
    for name, rates in rate_probe.RATES.items():
        monkeypatch.setitem(rate_probe.RATES, name, rates[::2])


def engine(rank: int = 0, world: int = 1, reduce: Any = None) -> Any:
    return SimpleNamespace(
        device=torch.device("cpu"), process_index=rank, num_processes=world, reduce=reduce
    )


class NoValidation(Blobs):
    """A validation set that must not be looked at."""

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("looked at")


def probe(
    settings: ds.FinetuneSettings = AUTO, by: Any = None, data: ds.TrainingData | None = None
) -> dict[str, RateProbe]:
    by = by or engine()
    data = data or replace(blobs(), val=NoValidation(13, 1))
    models = {"dynamic": dynamic_net(), "static": static_net()}
    kept = copy.deepcopy(models)
    sharing = Sharing(settings.batch, settings.accumulate, by.process_index, by.num_processes)
    found = probe_rates(models, data, settings, sharing, by, Listener())
    assert all(same_tensors(model, kept[name]) for name, model in models.items())
    return found


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([[2.0, 2.1], [1.0, 1.1], [1.5, 1.4]], 1),
        ([[1.2, 0.9], [1.0, 1.0], [1.5, 1.4]], 0),  # as good as the best, as far as one can tell
        ([[3.0, 3.0], [torch.inf, torch.inf]], 0),
        ([[torch.inf, 0.0], [3.0, 3.0]], 1),
    ],
)
def test_the_lowest_rate_that_is_as_good_as_the_best(rows: list[list[float]], chosen: int) -> None:
    assert choose(torch.tensor(rows, dtype=torch.float64)) == chosen


def test_each_network_gets_a_rate_from_training_images_alone() -> None:
    found = probe()
    assert found.keys() == {"dynamic", "static"}
    for result in found.values():
        assert result.rates == rate_probe.RATES["sgd"]
        assert (result.steps, result.samples) == (16, 5)
        low = result.losses[0]
        best = result.losses[result.rates.index(result.chosen)]
        assert low is not None
        assert best is not None
        assert best < low  # so short, 0.001 learns nothing
        assert RateProbe.from_dict(result.to_dict()) == result


@pytest.mark.usefixtures("few")
def test_what_was_chosen_is_chosen_again() -> None:
    assert probe() == probe()
    assert probe(replace(AUTO, lr=0.1)) == {}


@pytest.mark.usefixtures("few")
def test_processes_that_share_the_rates_find_what_one_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = replace(AUTO, accumulate=2, freeze_batchnorm=True)
    alone = probe(settings)
    parts: list[Tensor] = []
    shares = replace(settings, accumulate=1)

    def keep(own: Tensor) -> Tensor:
        parts.append(own)
        raise StopIteration

    with pytest.raises(StopIteration):
        probe(shares, engine(1, 2, keep))
    found: list[RateProbe] = []
    monkeypatch.setattr(Listener, "probed", lambda self, name, probe: found.append(probe))
    with pytest.raises(IndexError):  # there is no second network's share
        probe(shares, engine(0, 2, lambda own: own + parts.pop()))
    assert found == [alone["dynamic"]]


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(
    "changes", [{"optimizer": "adamw"}, {"clip_norm": 1.0, "precision": "bf16"}]
)
def test_other_ways_to_train_are_probed_as_they_train(changes: Any) -> None:
    found = probe(replace(AUTO, **changes))
    assert found["dynamic"].rates == rate_probe.RATES[changes.get("optimizer", "sgd")]
    assert None not in found["dynamic"].losses


def test_rates_at_which_it_diverges_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rate_probe.RATES, "sgd", (0.1, 1e30))
    found = probe()["dynamic"]
    assert (found.chosen, found.losses[1]) == (0.1, None)
    monkeypatch.setitem(rate_probe.RATES, "sgd", (1e30, 1e31))
    with pytest.raises(ds.TrainingError, match="diverges within 16 steps at every learning rate"):
        probe()


class Stop(Listener):
    """Ends the run after its second step."""

    def step(self, done: int, loss: float) -> None:
        if done == 2:
            raise KeyboardInterrupt


def test_a_run_trains_at_the_chosen_rates_and_goes_on_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_probe, "LEAST", 4)
    monkeypatch.setitem(rate_probe.RATES, "sgd", (0.05, 0.2))
    settings = replace(AUTO, baseline=True, save_every=1)
    whole = ds.finetune(dynamic_net(), blobs(), settings)
    assert whole.rates == {name: probe.chosen for name, probe in whole.probes.items()}
    by_hand = ds.finetune(dynamic_net(), blobs(), settings.at(whole.rates["dynamic"]))
    assert same_tensors(whole.model, by_hand.model)
    with pytest.raises(KeyboardInterrupt):
        ds.finetune(dynamic_net(), blobs(), settings, checkpoints=tmp_path, listener=Stop())
    monkeypatch.setattr(rate_probe, "_ShortRuns", None)  # nothing is tried again
    resumed = ds.finetune(dynamic_net(), blobs(), settings, checkpoints=tmp_path, resume=True)
    assert same_tensors(whole.model, resumed.model)
    assert whole.to_dict() == resumed.to_dict()
