"""Read the idx files of MNIST and Fashion-MNIST, packed with gzip or not.

The layout is two zero bytes, the code of the element type (8: unsigned byte), the number of axes,
the length of each axis as a big-endian 32-bit number, and the elements.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from dynsurgeon.errors import DataError

PARTS = {"train": "train", "val": "t10k"}
PLACES = ("", "raw", "FashionMNIST/raw", "MNIST/raw")
"""Where the files lie below the folder that is given; torchvision puts them into the last ones."""

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""The classes of Fashion-MNIST (arXiv 1708.07747), whose files are named as those of MNIST are."""


def find_idx(folder: Path) -> Path | None:
    """Return where below `folder` the four files lie, if they do."""
    places = (folder / place for place in PLACES)
    return next((place for place in places if _file(place, "train", "images-idx3")), None)


def read_part(place: Path, part: str) -> tuple[Tensor, Tensor]:
    """Read the images and the labels of ``"train"`` or ``"val"``.

    Returns:
        Images ``(N, 1, H, W)`` and labels ``(N,)``, bytes both.

    Raises:
        DataError: A file is missing or damaged, or they don't belong together.
    """
    images, labels = (_read(place, part, kind) for kind in ("images-idx3", "labels-idx1"))
    if images.dim() != 3 or labels.dim() != 1 or len(images) != len(labels):
        raise DataError(
            f"the {PARTS[part]} files in '{place}' don't belong together: images "
            f"{list(images.shape)}, labels {list(labels.shape)}"
        )
    return images.unsqueeze(1), labels


def _read(place: Path, part: str, kind: str) -> Tensor:
    path = _file(place, part, kind)
    if path is None:
        raise DataError(f"'{place}' has no {PARTS[part]}-{kind}-ubyte beside the other files")
    try:
        packed = path.read_bytes()
        content = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"'{path}' can't be read: {error}") from error
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 4 else 0
    start = 4 + 4 * axes
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    if not shape or len(content) != start + math.prod(shape):
        raise DataError(f"'{path}' is damaged, or no idx file of bytes")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(shape)


def _file(place: Path, part: str, kind: str) -> Path | None:
    names = [f"{PARTS[part]}-{kind}-ubyte{end}" for end in ("", ".gz")]
    return next((place / name for name in names if (place / name).is_file()), None)
