"""A whole run: what it learns, that it can stop anywhere, and everything that stands in its way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_helpers import (
    QUICK,
    Blobs,
    InterruptionError,
    Stop,
    blobs,
    dynamic_net,
    same_tensors,
    static_net,
)
from nets import perturb_

import dynsurgeon as ds
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.results import Epoch, Score

EVERYTHING: dict[str, Any] = {
    **QUICK,
    "ema": 0.8,
    "accumulate": 2,
    "baseline": True,
    "save_every": 2,
    "latency": False,
}


class Record(Listener):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def started(self, before: Score, steps: int, epochs: int) -> None:
        self.told.append(("started", steps, epochs))

    def step(self, done: int, loss: float) -> None:
        self.told.append(done)

    def epoch(self, epoch: Epoch) -> None:
        self.told.append(("epoch", epoch.number))


def run(checkpoints: Path | None = None, **changes: Any) -> ds.FinetuneResult:
    listener, resume = changes.pop("listener", None), changes.pop("resume", False)
    settings = ds.FinetuneSettings(**{**QUICK, "cpu": True, **changes})
    return ds.finetune(
        dynamic_net(), blobs(), settings, checkpoints=checkpoints, resume=resume, listener=listener
    )


def accuracy_of(model: torch.nn.Module) -> float:
    val = Blobs(13, 1)
    with torch.no_grad():
        scores = model(torch.stack([val[i][0] for i in range(13)]))
    return float((scores.argmax(1) == val.labels).double().mean())


def test_it_learns_and_returns_the_best_epoch() -> None:
    result = run(epochs=6, lr=0.2)
    accuracies = [epoch.val["dynamic"].accuracy for epoch in result.history]
    assert result.val["dynamic"].accuracy == max(accuracies) > result.before.accuracy
    best = result.best_epoch["dynamic"]
    assert accuracies[best - 1] == max(accuracies)
    assert accuracy_of(result.model) == pytest.approx(max(accuracies))
    assert result.steps == 18
    assert (result.gain, result.twin, result.processes) == (None, None, 1)
    assert [epoch.temperature for epoch in result.history][-1] == 1.0


def test_it_trains_what_it_was_given() -> None:
    net = dynamic_net()
    settings = ds.FinetuneSettings(**QUICK)
    result = ds.finetune(net, blobs(), settings)
    assert result.model is net
    assert not same_tensors(net, dynamic_net())
    assert not net.training


def test_a_twin_beside_it_changes_nothing() -> None:
    alone, beside = run(ema=0.8), run(ema=0.8, baseline=True)
    assert same_tensors(alone.model, beside.model)
    assert beside.twin is not None
    assert type(beside.twin.get_submodule("3")) is torch.nn.Conv2d
    assert not same_tensors(beside.twin, static_net())
    assert accuracy_of(beside.twin) == pytest.approx(beside.val["static"].accuracy)


def test_the_gain_is_that_of_the_networks_it_returns() -> None:
    result = run(epochs=4, lr=0.3, baseline=True)
    assert result.gain is not None
    assert result.twin is not None
    wanted = accuracy_of(result.model) - accuracy_of(result.twin)
    assert result.gain.difference == pytest.approx(wanted)
    assert result.gain.samples == 13


def test_checkpoints_change_nothing(tmp_path: Path) -> None:
    assert same_tensors(run().model, run(tmp_path / "new" / "place").model)
    names = sorted(path.name for path in (tmp_path / "new" / "place").iterdir())
    assert names == ["best-dynamic.pt", "last.pt"]


@pytest.mark.parametrize("step", range(1, 7))
def test_a_run_that_stops_anywhere_ends_as_if_it_had_not(tmp_path: Path, step: int) -> None:
    whole = run(**EVERYTHING)
    with pytest.raises(InterruptionError):
        run(tmp_path, listener=Stop(step), **EVERYTHING)
    if step < 2:
        assert not (tmp_path / "last.pt").exists()
    resumed = run(tmp_path, resume=(tmp_path / "last.pt").exists(), **EVERYTHING)
    assert_same(whole, resumed)


def assert_same(whole: ds.FinetuneResult, resumed: ds.FinetuneResult) -> None:
    assert same_tensors(whole.model, resumed.model)
    assert whole.twin is not None
    assert resumed.twin is not None
    assert same_tensors(whole.twin, resumed.twin)
    assert whole.to_dict() == resumed.to_dict()


KILL = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from test_finetune_engine import EVERYTHING, Stop, run

class Kill(Stop):
    def step(self, done, loss):
        if done == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

save, saved = torch.save, []
def die_halfway(state, file):
    saved.append(file)
    if len(saved) == writes:
        file.write(b"half of it")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(state, file)

step, writes = int(sys.argv[2]), int(sys.argv[3])
torch.save = die_halfway
run(sys.argv[1], listener=Kill(step), **EVERYTHING)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["step", "write"])
def test_a_killed_process_loses_nothing(tmp_path: Path, where: str) -> None:
    chosen = random.SystemRandom().randint(3, 6)
    step, write = (chosen, 0) if where == "step" else (0, chosen)
    done = subprocess.run(
        [sys.executable, "-c", KILL, tmp_path, str(step), str(write)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert_same(run(**EVERYTHING), run(tmp_path, resume=True, **EVERYTHING))
        left = sorted(os.listdir(tmp_path))
        assert left == ["best-dynamic.pt", "best-static.pt", "last.pt"]
    finally:
        torch.set_num_threads(threads)


def test_a_run_that_is_complete_is_resumed_to_the_same(tmp_path: Path) -> None:
    whole = run(tmp_path, **EVERYTHING)
    record = Record()
    assert_same(whole, run(tmp_path, resume=True, listener=record, **EVERYTHING))
    assert record.told == [("started", 3, 2), ("epoch", 1), ("epoch", 2)]


def test_the_listener_hears_of_everything() -> None:
    record = Record()
    run(listener=record)
    assert record.told == [("started", 3, 2), 1, 2, 3, ("epoch", 1), 4, 5, 6, ("epoch", 2)]


def test_an_earlier_run_is_not_overwritten(tmp_path: Path) -> None:
    run(tmp_path)
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ds.StorageError, match="of an earlier run"):
        run(tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_lost_best_checkpoint_is_told(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "best-dynamic.pt").unlink()
    record = Record()
    with pytest.raises(ds.StorageError, match="best-dynamic"):
        run(tmp_path, resume=True, listener=record)
    assert record.told == []  # at once, not at the end


@pytest.mark.parametrize("baseline", [False, True])
def test_a_run_that_diverges_keeps_the_last_good_checkpoint(tmp_path: Path, baseline: bool) -> None:
    with pytest.raises(ds.TrainingError, match=r"diverged by step \d"):
        run(tmp_path, lr=1e25, save_every=1, warmup=0.0, baseline=baseline)
    last = tmp_path / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        weights = state["arms"]["dynamic"]["model"].values()
        assert all(bool(t.isfinite().all()) for t in weights if t.is_floating_point())


def test_a_network_that_has_diverged_is_never_written(tmp_path: Path) -> None:
    # The loss is measured before the step: the last step of all can still ruin the weights.
    class Ruin(Listener):
        def step(self, done: int, loss: float) -> None:
            if done == 4:
                with torch.no_grad():
                    next(net.parameters()).fill_(float("nan"))

    net = dynamic_net()
    settings = ds.FinetuneSettings(**QUICK, save_every=2)
    with pytest.raises(
        ds.TrainingError, match=r"no finite numbers; .* the last good checkpoint is kept"
    ):
        ds.finetune(net, blobs(), settings, checkpoints=tmp_path, listener=Ruin())
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["progress"]["epoch"] == 1


def test_random_numbers_go_on_as_if_nothing_had_been_trained() -> None:
    torch.manual_seed(5)
    random.seed(5)
    wanted = torch.rand(3), random.random()
    torch.manual_seed(5)
    random.seed(5)
    data, net = blobs(), dynamic_net()
    ds.finetune(net, data, ds.FinetuneSettings(**QUICK))
    assert torch.equal(torch.rand(3), wanted[0])
    assert random.random() == wanted[1]


def test_what_does_not_fit_is_refused_before_the_first_step() -> None:
    cases: tuple[tuple[torch.nn.Module, dict[str, Any], type[Exception]], ...] = (
        (dynamic_net(), {"batch": 27}, ds.ConfigError),
        (dynamic_net(), {"accumulate": 3}, ds.ConfigError),
        (perturb_(dynamic_net()), {"baseline": True}, ds.RestoreError),
        (dynamic_net(), {"shard": True}, ds.ConfigError),
    )
    for net, changes, kind in cases:
        kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        settings = ds.FinetuneSettings(**{**QUICK, "cpu": True, **changes})
        with pytest.raises(kind):
            ds.finetune(net, blobs(), settings)
        assert all(torch.equal(t, kept[name]) for name, t in net.state_dict().items())


def test_only_converted_networks_are_trained(tmp_path: Path) -> None:
    with pytest.raises(ds.UnsupportedModelError, match="was not converted"):
        ds.finetune(static_net(), blobs(), checkpoints=tmp_path)
