"""The image sets: Fashion-MNIST, and the same images under mixed corruptions."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from corruptions import corrupt
from torch import Tensor

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts its files."""

CLASSES = 10


@dataclass(frozen=True)
class Images:
    """A training and a test set, normalised, each one tensor ``(N, 1, 28, 28)``."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor


def load_images(name: str, folder: Path = DEBIAN_FOLDER) -> Images:
    """Read ``"clean"`` or ``"corrupted"`` Fashion-MNIST from the four files of the original."""
    parts = {}
    for index, part in enumerate(("train", "t10k")):
        pixels = _read(folder / f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
        x = torch.from_numpy(pixels.copy()).float() / 255
        if name == "corrupted":
            x = corrupt(x, seed=index)
        y = torch.from_numpy(_read(folder / f"{part}-labels-idx1-ubyte.gz", 8).astype(np.int64))
        parts[part] = (x, y)
    mean, std = parts["train"][0].mean(), parts["train"][0].std()
    (train_x, train_y), (test_x, test_y) = parts["train"], parts["t10k"]
    return Images((train_x - mean) / std, train_y, (test_x - mean) / std, test_y)


def _read(path: Path, header: int) -> np.ndarray:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)
