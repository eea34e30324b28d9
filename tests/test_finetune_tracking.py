"""What a run writes for others to plot: whole rows, none twice, wherever it was stopped."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from finetune_helpers import QUICK, InterruptionError, Stop, blobs, dynamic_net

import dynsurgeon as ds
from dynsurgeon.training.finetune.csv_tracker import EPOCHS, STEPS

FASTER: dict[str, Any] = {**QUICK, "cpu": True, "calibrate": False, "batchnorm_samples": 0}
needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is an extra"
)


def run(folder: Path, **changes: Any) -> ds.FinetuneResult:
    settings = ds.FinetuneSettings(**{**FASTER, "track": ("csv",), **changes.pop("settings", {})})
    checkpoints = folder / "checkpoints"
    logs = folder / "logs"
    return ds.finetune(
        dynamic_net(), blobs(), settings, checkpoints=checkpoints, logs=logs, **changes
    )


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "logs" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_step_and_epoch_has_a_row(tmp_path: Path) -> None:
    result = run(tmp_path, settings={"baseline": True, "latency": False})
    steps, epochs = rows_of(tmp_path, STEPS), rows_of(tmp_path, EPOCHS)
    assert [int(row["step"]) for row in steps] == list(range(1, result.steps + 1))
    assert list(steps[0]) == [
        "step", "loss/dynamic", "loss/static", "rate/dynamic", "rate/static", "temperature"
    ]  # fmt: skip
    rates = [float(row["rate/dynamic"]) for row in steps]
    assert max(rates) <= QUICK["lr"]
    assert rates[-1] < rates[1]
    assert [(int(row["epoch"]), int(row["step"])) for row in epochs] == [(1, 3), (2, 6)]
    for row, epoch in zip(epochs, result.history, strict=True):
        for arm in ("dynamic", "static"):
            assert float(row[f"val/accuracy/{arm}"]) == epoch.val[arm].accuracy
            assert float(row[f"train/loss/{arm}"]) == epoch.train[arm].loss
    losses = [float(row["loss/dynamic"]) for row in steps[:3]]
    assert sum(losses) / 3 == pytest.approx(result.history[0].train["dynamic"].loss)


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_resumed_run_writes_what_a_whole_one_does(tmp_path: Path, step: int) -> None:
    run(tmp_path / "whole")
    part = tmp_path / "part"
    saving = {"save_every": 2}
    with pytest.raises(InterruptionError):
        run(part, settings=saving, listener=Stop(step))
    resumed = (part / "checkpoints" / "last.pt").exists()
    if not resumed:
        (part / "logs" / STEPS).unlink(missing_ok=True)
    else:
        with (part / "logs" / STEPS).open("a") as file:
            file.write("99,0.5\r\n5")  # what a kill in the middle of a write leaves
    run(part, settings=saving, resume=resumed)
    for name in (STEPS, EPOCHS):
        assert rows_of(part, name) == rows_of(tmp_path / "whole", name)


def test_a_log_changes_nothing_and_may_begin_later(tmp_path: Path) -> None:
    with pytest.raises(InterruptionError):
        run(tmp_path, settings={"track": (), "save_every": 2}, listener=Stop(3))
    assert not (tmp_path / "logs").exists()
    resumed = run(tmp_path, settings={"save_every": 2}, resume=True)
    assert [row["step"] for row in rows_of(tmp_path, STEPS)] == ["3", "4", "5", "6"]
    assert resumed.history == run(tmp_path / "plain", settings={"track": ()}).history


def test_the_log_of_an_earlier_run_stays(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / STEPS).write_text("step\r\n1\r\n")
    with pytest.raises(ds.StorageError, match="holds the log of an earlier run"):
        run(tmp_path)
    assert (tmp_path / "logs" / STEPS).read_bytes() == b"step\r\n1\r\n"


def test_what_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(ds.StorageError, match=r"can't write the log .*steps\.csv"):
        run(tmp_path)


def test_a_log_needs_a_folder() -> None:
    with pytest.raises(ds.ConfigError, match="track needs a folder"):
        ds.finetune(dynamic_net(), blobs(), ds.FinetuneSettings(**FASTER, track=("csv",)))


def test_without_tensorboard_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accelerate.utils

    monkeypatch.setattr(accelerate.utils, "is_tensorboard_available", lambda: False)
    with pytest.raises(ds.ConfigError, match=r"dynsurgeon\[tensorboard\]"):
        run(tmp_path, settings={"track": ("csv", "tensorboard")})
    assert list(tmp_path.iterdir()) == []


@needs_tensorboard
def test_tensorboard_reads_each_step_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = {"track": ("tensorboard", "csv"), "save_every": 2}
    with pytest.raises(InterruptionError):
        run(tmp_path, settings=settings, listener=Stop(3))
    run(tmp_path, settings=settings, resume=True)
    found = EventAccumulator(str(tmp_path / "logs" / "tensorboard"))
    found.Reload()
    for name, file in (("loss/dynamic", STEPS), ("val/accuracy/dynamic", EPOCHS)):
        read = {event.step: event.value for event in found.Scalars(name)}
        rows = {int(row["step"]): float(row[name]) for row in rows_of(tmp_path, file)}
        assert len(found.Scalars(name)) == len(rows)
        assert read == pytest.approx(rows)
