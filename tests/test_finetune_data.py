"""Data from folders: sizes, statistics, and the facts for the receipt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from finetune_helpers import write_idx, write_images

import dynsurgeon as ds
from dynsurgeon.training.finetune.data import load_unlabelled


def test_a_folder_becomes_two_datasets(tmp_path: Path) -> None:
    write_images(tmp_path, ["a", "b"], 10)
    data = ds.load_images(tmp_path, (3, 16, 12), val_share=0.2)
    assert data.classes == ("a", "b")
    assert data.facts["train"] == len(data.train) == 16  # type: ignore[arg-type]
    assert data.facts["val"] == len(data.val) == 4  # type: ignore[arg-type]
    image, label = data.train[15]
    assert image.shape == (3, 16, 12)
    assert label == 1
    assert json.loads(json.dumps(data.facts)) == data.facts


def test_image_files_are_augmented_and_idx_files_are_not(tmp_path: Path) -> None:
    write_images(tmp_path / "files", ["a", "b"], 4)
    write_idx(tmp_path / "idx")
    files = ds.load_images(tmp_path / "files", (3, 8, 8))
    assert files.facts["augment"] == "crop"
    assert len({float(files.train[0][0].sum()) for _ in range(10)}) > 1
    assert len({float(files.val[0][0].sum()) for _ in range(10)}) == 1
    idx = ds.load_images(tmp_path / "idx", (1, 8, 8))
    assert idx.facts["augment"] == "none"
    assert len({float(idx.train[0][0].sum()) for _ in range(10)}) == 1
    assert ds.load_images(tmp_path / "idx", (1, 8, 8), augment="flip").facts["augment"] == "flip"


def test_statistics_are_measured_unless_they_are_given(tmp_path: Path) -> None:
    write_idx(tmp_path)
    measured = ds.load_images(tmp_path, (1, 8, 8))
    every = torch.stack([measured.train[i][0] for i in range(12)])
    assert abs(float(every.mean())) < 1e-5
    given = ds.load_images(tmp_path, (1, 8, 8), statistics=((0.1,), (0.2,)))
    assert given.facts["preprocessing"]["mean"] == [0.1]
    raw = torch.stack([given.train[i][0] for i in range(12)]) * 0.2 + 0.1
    assert 0 <= float(raw.min()) < float(raw.max()) <= 1.0001


@pytest.mark.parametrize("statistics", [((0.1, 0.2), (1.0,)), ((0.1,), (0.0,)), ((), ())])
def test_statistics_of_other_channels_are_refused(
    tmp_path: Path, statistics: tuple[tuple[float, ...], tuple[float, ...]]
) -> None:
    write_idx(tmp_path)
    with pytest.raises(ds.ConfigError, match="mean and deviation"):
        ds.load_images(tmp_path, (3, 8, 8), statistics=statistics)


def test_only_images_are_data(tmp_path: Path) -> None:
    with pytest.raises(ds.ConfigError, match="but the model takes 3x4x8x8"):
        ds.load_images(tmp_path, (3, 4, 8, 8))


def test_other_images_are_told_apart(tmp_path: Path) -> None:
    write_idx(tmp_path / "idx")
    write_images(tmp_path / "files", ["a", "b"], 4)
    digests = [
        ds.load_images(tmp_path / name, (3, 8, 8), seed=seed).facts["digest"]
        for name, seed in (("idx", 0), ("files", 0), ("files", 0), ("files", 1))
    ]
    assert digests[1] == digests[2]
    assert len(set(digests)) == 3


def test_images_to_calibrate_on_need_no_labels(tmp_path: Path) -> None:
    write_images(tmp_path / "any", ["where"], 3)
    images = load_unlabelled(tmp_path, (3, 8, 8))
    assert len(images) == 3
    assert images[2][0].shape == (3, 8, 8)


def test_an_unknown_augmentation_is_not_none_in_silence(tmp_path: Path) -> None:
    wrong: Any = "corp"
    with pytest.raises(ds.ConfigError, match="augment must be one of auto, none, flip, crop, got"):
        ds.load_images(tmp_path, (3, 8, 8), augment=wrong)
