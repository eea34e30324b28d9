"""idx files: packed or not, where torchvision puts them, and damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from finetune_helpers import idx_bytes, write_idx

from dynsurgeon.errors import DataError
from dynsurgeon.training.finetune.idx import find_idx, read_part


@pytest.mark.parametrize("place", ["", "raw", "FashionMNIST/raw", "MNIST/raw"])
def test_they_are_found_where_they_usually_lie(tmp_path: Path, place: str) -> None:
    assert find_idx(tmp_path) is None
    write_idx(tmp_path / place)
    assert find_idx(tmp_path) == tmp_path / place


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_read_is_what_was_written(tmp_path: Path, packed: bool) -> None:
    images = torch.randint(0, 256, (5, 4, 3), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 2, 9, 1], dtype=torch.uint8)
    for kind, tensor in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(tensor)
        name = tmp_path / f"t10k-{kind}-ubyte{'.gz' if packed else ''}"
        name.write_bytes(gzip.compress(content) if packed else content)
    read = read_part(tmp_path, "val")
    assert torch.equal(read[0], images.unsqueeze(1))
    assert torch.equal(read[1], labels)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08", b"\0\0\x0d\1\0\0\0\1abcd", b"\0\0\x08\3\0\0\0\1", b"\0\0\x08\1\0\0\0\7abc"],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte' is damaged"):
        read_part(tmp_path, "train")


def test_a_damaged_packed_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path)
    name = tmp_path / "train-images-idx3-ubyte"
    packed = gzip.compress(name.read_bytes())
    name.unlink()
    name.with_name(f"{name.name}.gz").write_bytes(packed[:-9] + b"x" * 9)
    with pytest.raises(DataError, match=r"ubyte.gz' can't be read"):
        read_part(tmp_path, "train")


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(torch.zeros(3).byte()))
    with pytest.raises(DataError, match="don't belong together"):
        read_part(tmp_path, "train")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no train-labels-idx1-ubyte"):
        read_part(tmp_path, "train")
