"""Images from folders: labels, splits, and everything that is wrong with a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from finetune_helpers import write_idx, write_images
from PIL import Image

from dynsurgeon.errors import ConfigError, DataError
from dynsurgeon.training.finetune.pictures import (
    Labelled,
    Pictures,
    read_labelled,
    read_unlabelled,
)


def read(folder: Path, channels: int = 3, *, val_share: float = 0.25, seed: int = 0) -> Labelled:
    return read_labelled(folder, channels, val_share=val_share, seed=seed)


def files_of(part: object) -> set[tuple[str, int]]:
    assert isinstance(part, Pictures)
    return set(part.files)


def test_a_folder_a_class_is_divided_class_by_class(tmp_path: Path) -> None:
    write_images(tmp_path, ["a", "b"], 8)
    found = read(tmp_path)
    assert found.classes == ("a", "b")
    assert Counter(label for _, label in files_of(found.val)) == {0: 2, 1: 2}
    assert not files_of(found.train) & files_of(found.val)
    assert len(files_of(found.train) | files_of(found.val)) == 16
    assert files_of(found.val) == files_of(read(tmp_path).val)
    assert files_of(found.val) != files_of(read(tmp_path, seed=1).val)


@pytest.mark.parametrize("name", ["val", "valid", "validation", "test"])
def test_a_validation_folder_is_taken(tmp_path: Path, name: str) -> None:
    write_images(tmp_path / "train", ["a", "b", "c"], 2)
    write_images(tmp_path / name, ["c", "a"], 3)
    found = read(tmp_path)
    assert found.classes == ("a", "b", "c")
    assert Counter(label for _, label in files_of(found.val)) == {0: 3, 2: 3}
    assert found.split == f"'{name}'"


def test_a_training_folder_alone_is_divided(tmp_path: Path) -> None:
    write_images(tmp_path / "train", ["a", "b"], 4)
    assert len(read(tmp_path).val) == 2


def test_images_come_as_bytes_in_the_channels_of_the_model(tmp_path: Path) -> None:
    write_images(tmp_path, ["a", "b"], 2)
    for channels in (1, 3):
        image, label = read(tmp_path, channels).train[0]
        assert image.shape == (channels, 8, 8)
        assert image.dtype == torch.uint8
        assert label == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_idx_files_come_with_their_own_validation_set(tmp_path: Path, channels: int) -> None:
    write_idx(tmp_path)
    found = read(tmp_path, channels)
    assert (len(found.train), len(found.val)) == (12, 6)
    assert found.classes == ("0", "1", "2")
    image, label = found.train[4]
    assert image.shape == (channels, 8, 8)
    assert torch.equal(image[0], image[-1])
    assert label == 1


def test_fashion_mnist_has_names(tmp_path: Path) -> None:
    write_idx(tmp_path / "fashion-mnist", train=20, val=10, classes=10)
    assert read(tmp_path / "fashion-mnist", 1).classes[9] == "Ankle boot"


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is empty; put each class's images into a folder"):
        read(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        read(tmp_path)


def test_images_without_labels(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match="holds images without labels"):
        read(tmp_path)
    assert len(read_unlabelled(tmp_path, 3)) == 1


def test_one_class_and_one_image_are_too_few(tmp_path: Path) -> None:
    write_images(tmp_path, ["a"], 4)
    with pytest.raises(DataError, match="one class, 'a'"):
        read(tmp_path)
    write_images(tmp_path / "single", ["a", "b"], 1)
    with pytest.raises(DataError, match="no image to validate on"):
        read(tmp_path / "single")


def test_a_class_that_only_the_validation_set_has(tmp_path: Path) -> None:
    write_images(tmp_path / "train", ["a", "b"], 2)
    write_images(tmp_path / "val", ["a", "z"], 2)
    with pytest.raises(DataError, match="a class 'z' that the training set lacks"):
        read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\nbroken"])
def test_an_image_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    write_images(tmp_path, ["a", "b"], 2)
    (tmp_path / "a" / "0.png").write_bytes(content)
    files = Pictures([(str(tmp_path / "a" / "0.png"), 0)], 3)
    with pytest.raises(DataError, match=r"a/0.png' can't be read as an image"):
        files[0]


def test_models_of_other_inputs_are_refused(tmp_path: Path) -> None:
    write_images(tmp_path, ["a", "b"], 2)
    with pytest.raises(ConfigError, match="1 or 3 channels, but the model takes 2"):
        read(tmp_path, 2)
    with pytest.raises(ConfigError, match="share must lie between 0 and 1"):
        read(tmp_path, val_share=1.0)


def test_unlabelled_images_are_found_at_any_depth(tmp_path: Path) -> None:
    write_images(tmp_path / "deep" / "er", ["a", "b"], 2)
    assert len(read_unlabelled(tmp_path, 3)) == 4
    write_idx(tmp_path / "idx")
    assert len(read_unlabelled(tmp_path / "idx", 1)) == 12
