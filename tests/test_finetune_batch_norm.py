"""What is measured and saved has statistics of its own weights; training is none the wiser."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_helpers import QUICK, Blobs, blobs, dynamic_net, same_tensors
from torch import nn

import dynsurgeon as ds
from dynsurgeon.training.finetune.batch_norm import BATCH, lag_notes
from dynsurgeon.training.finetune.loading import even_batches

STEEP: dict[str, Any] = {
    **QUICK, "epochs": 3, "lr": 0.3, "cpu": True, "calibrate": False, "latency": False,
}  # fmt: skip


def slow_net() -> nn.Module:
    """Return a network whose running statistics hardly move."""
    net = dynamic_net(dropout=0.0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.01
    return net


def run(data: ds.TrainingData | None = None, **changes: Any) -> ds.FinetuneResult:
    settings = ds.FinetuneSettings(**{**STEEP, **changes})
    return ds.finetune(slow_net(), data or blobs(), settings)


def test_what_is_saved_fits_its_weights_and_training_is_the_same() -> None:
    fitted, lagging = run(), run(batchnorm_samples=0)
    last = fitted.history[-1].val["dynamic"].loss, lagging.history[-1].val["dynamic"].loss
    assert last[0] < 0.8 * last[1]
    for one, other in zip(fitted.history, lagging.history, strict=True):
        assert one.train == other.train
    assert fitted.history[-1].lag == pytest.approx(lagging.history[-1].lag, rel=0.2)
    assert "re-estimated on up to 1024 training images" in fitted.notes[0]
    assert "batchnorm_samples above 0" in lagging.notes[0]
    assert fitted.before == lagging.before  # of the network as it came


@pytest.mark.parametrize("changes", [{}, {"ema": 0.5}, {"baseline": True}, {"freeze": ("rest",)}])
def test_its_statistics_are_those_of_training_images(changes: Any) -> None:
    data = replace(blobs(), plain=Blobs(26, 0))
    result = run(data, **changes)
    _, batches = even_batches(data, 1024, BATCH, seed=0, workers=0)
    for net in (result.model, result.twin):
        if net is not None:
            again = copy.deepcopy(net)
            ds.update_batch_norm(again, batches if net is result.model else [plain(data)])
            for (name, tensor), other in zip(
                net.state_dict().items(), again.state_dict().values(), strict=True
            ):
                assert torch.allclose(tensor, other, rtol=1e-5, atol=1e-6), name


def plain(data: ds.TrainingData) -> torch.Tensor:
    return next(even_batches(data, 1024, BATCH, seed=0, workers=0)[1])


class Untouched(Blobs):
    """Images that nobody reads."""

    def __getitem__(self, index: int) -> Any:
        raise AssertionError("read")


@pytest.mark.parametrize(("norm", "changes"), [(False, {}), (True, {"freeze_batchnorm": True})])
def test_without_such_statistics_nothing_is_read(norm: bool, changes: Any) -> None:
    data = replace(blobs(), plain=Untouched(26, 0))
    result = ds.finetune(
        dynamic_net(norm=norm), data, ds.FinetuneSettings(**{**STEEP, "epochs": 1, **changes})
    )
    assert [epoch.lag for epoch in result.history] == [{}]
    assert result.notes == ()


def test_a_small_lag_is_no_note() -> None:
    assert lag_notes({"dynamic": 0.2}, ds.FinetuneSettings()) == []


@pytest.mark.parametrize(
    ("most", "count", "total", "size"), [(1024, 26, 1, 26), (20, 26, 1, 20), (1024, 100, 3, 33)]
)
def test_batches_are_of_one_size(most: int, count: int, total: int, size: int) -> None:
    parts, batches = even_batches(blobs(train=count), most, 32, seed=0, workers=0)
    assert [len(batch) for batch in batches] == [size] * total
    assert parts == total


TWO = """
import sys
import torch
from torch import distributed
import dynsurgeon as ds
from finetune_helpers import blobs
from test_finetune_batch_norm import STEEP, slow_net

for samples in (0, 64):
    settings = ds.FinetuneSettings(**{**STEEP, "batchnorm_samples": samples, "lr": "auto"})
    result = ds.finetune(slow_net(), blobs(), settings)
    name = f"{sys.argv[1]}/{samples}-{distributed.get_rank()}.pt"
    torch.save([result.model.state_dict(), result.to_dict()], name)
distributed.destroy_process_group()
"""


@pytest.mark.timeout(240)
def test_two_processes_have_the_same_network_and_the_score_is_its_own(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    launch = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    paths = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        [sys.executable, "-m", *launch, str(script), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    probes = run(epochs=1, lr="auto", accumulate=2).to_dict()["probes"]  # parts of the same size
    for samples in (0, 64):
        one, other = (torch.load(tmp_path / f"{samples}-{rank}.pt") for rank in (0, 1))
        assert one[1] == other[1]
        assert all(torch.equal(tensor, other[0][name]) for name, tensor in one[0].items())
        best = one[1]["best_epoch"]["dynamic"]
        assert one[1]["val"] == one[1]["history"][best - 1]["val"]
        assert one[1]["probes"]["dynamic"]["losses"] == pytest.approx(
            probes["dynamic"]["losses"], rel=1e-3
        )


def test_the_network_is_left_as_it_was_found_where_nothing_is_kept() -> None:
    first, second = run(ema=0.5, batchnorm_samples=8), run(ema=0.5, batchnorm_samples=8)
    assert same_tensors(first.model, second.model)
