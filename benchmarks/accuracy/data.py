"""The image sets: Fashion-MNIST, and the same images under mixed corruptions."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
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


def corrupt(x: Tensor, seed: int) -> Tensor:
    """Give each image of ``(N, 1, H, W)`` in [0, 1] one corruption, drawn by `seed`; 1 in 6 none.

    Kinds: noise, blur, low contrast, inversion, rotation.
    """
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(len(CORRUPTIONS) + 1, (len(x),), generator=generator)
    result = x.clone()
    for index, change in enumerate(CORRUPTIONS, start=1):
        chosen = kind == index
        result[chosen] = change(x[chosen], generator).clamp(0, 1)
    return result


def _noise(x: Tensor, generator: torch.Generator) -> Tensor:
    return x + 0.3 * torch.randn(x.shape, generator=generator)


def _blur(x: Tensor, generator: torch.Generator) -> Tensor:
    line = torch.exp(-torch.linspace(-3, 3, 7).pow(2) / (2 * 1.5**2))
    line = line / line.sum()
    return F.conv2d(F.conv2d(x, line.view(1, 1, 7, 1), padding=(3, 0)), line.view(1, 1, 1, 7),
                    padding=(0, 3))  # fmt: skip


def _contrast(x: Tensor, generator: torch.Generator) -> Tensor:
    return 0.4 + 0.2 * x


def _invert(x: Tensor, generator: torch.Generator) -> Tensor:
    return 1 - x


def _rotate(x: Tensor, generator: torch.Generator) -> Tensor:
    angle = (torch.rand(len(x), generator=generator) * 2 - 1) * math.pi / 2
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(x))
    turn = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


CORRUPTIONS: tuple[Callable[[Tensor, torch.Generator], Tensor], ...] = (
    _noise, _blur, _contrast, _invert, _rotate,
)  # fmt: skip
