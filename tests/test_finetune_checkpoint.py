"""Checkpoints: whole or not at all, and of this run or refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_helpers import blobs, dynamic_net
from torch import nn

import dynsurgeon as ds
from dynsurgeon.training.finetune.checkpoint import CheckpointFolder, identity_of

SETTINGS = ds.FinetuneSettings()


def folder(path: Path, **changes: Any) -> CheckpointFolder:
    settings = replace(SETTINGS, **changes)
    return CheckpointFolder(path, identity_of(dynamic_net(), blobs(), settings))


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    checkpoints = folder(tmp_path / "new" / "folder")
    checkpoints.require_empty()
    checkpoints.write_last({"progress": {"epoch": 3}, "tensor": torch.arange(3)})
    state = checkpoints.read_last()
    assert state["progress"] == {"epoch": 3}
    assert torch.equal(state["tensor"], torch.arange(3))
    checkpoints.write_best("dynamic", {"w": torch.ones(2)})
    assert torch.equal(checkpoints.read_best("dynamic")["w"], torch.ones(2))
    with pytest.raises(ds.StorageError, match="of an earlier run"):
        checkpoints.require_empty()


def test_a_checkpoint_may_be_read_with_other_workers(tmp_path: Path) -> None:
    folder(tmp_path).write_last({"progress": 1})
    assert folder(tmp_path, workers=3, save_every=2).read_last()["progress"] == 1


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    folder(tmp_path).write_last({})
    with pytest.raises(ds.StorageError, match=r"other settings: lr was 0.02, now it is 0.5"):
        folder(tmp_path, lr=0.5).read_last()


def test_another_recipe_other_weights_and_other_data_are_refused(tmp_path: Path) -> None:
    folder(tmp_path).write_last({})
    other = ds.convert(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), torch.zeros(2, 3, 8, 8))
    for net, data, text in (
        (other, blobs(), "of another recipe"),
        (changed(dynamic_net()), blobs(), "began with other weights"),
        (dynamic_net(), blobs(train=30), "other data: train was 26, now it is 30"),
    ):
        checkpoints = CheckpointFolder(tmp_path, identity_of(net, data, SETTINGS))
        with pytest.raises(ds.StorageError, match=text):
            checkpoints.read_last()


def changed(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(net.parameters())[0] += 1e-6
    return net


def test_a_network_that_was_not_converted_has_no_identity() -> None:
    with pytest.raises(ds.UnsupportedModelError):
        identity_of(nn.Flatten(), blobs(), SETTINGS)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_no_code_runs_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"evil": Evil()}, tmp_path / "last.pt")
    with pytest.raises(ds.StorageError, match="is damaged"):
        folder(tmp_path).read_last()
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\3\4broken"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ds.StorageError, match=r"last.pt' is damaged"):
        folder(tmp_path).read_last()


def test_bytes_that_changed_on_the_disk_are_noticed(tmp_path: Path) -> None:
    folder(tmp_path).write_last({"tensor": torch.zeros(1000)})
    content = bytearray((tmp_path / "last.pt").read_bytes())
    content[content.index(bytes(100))] ^= 1
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ds.StorageError, match="is damaged: its content is not what was written"):
        folder(tmp_path).read_last()


def test_a_place_that_cannot_be_written_is_told_before_there_is_anything(tmp_path: Path) -> None:
    folder(tmp_path / "new" / "place").require_writable()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ds.StorageError, match="file': Not a directory"):
        folder(tmp_path / "file" / "run").require_writable()


def test_something_else_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ds.StorageError, match=r"there is no checkpoint .*last.pt'"):
        folder(tmp_path).read_last()
    torch.save([1], tmp_path / "last.pt")
    with pytest.raises(ds.StorageError, match="is no checkpoint of dynsurgeon"):
        folder(tmp_path).read_last()
    torch.save({"format": 99}, tmp_path / "last.pt")
    with pytest.raises(ds.StorageError, match="no checkpoint of format 1"):
        folder(tmp_path).read_last()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("disk")])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    checkpoints = folder(tmp_path)
    checkpoints.write_last({"progress": 1})

    def fill_the_disk(state: Any, file: Any) -> None:
        file.write(b"half of it")
        raise error

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(ds.StorageError, match="is intact, resume from that"):
        checkpoints.write_last({"progress": 2})
    assert os.listdir(tmp_path) == ["last.pt"]
    monkeypatch.undo()
    assert checkpoints.read_last()["progress"] == 1
