"""Photographs in a folder for each class, as one tensor of bytes; drawn and split by a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from corruptions import corrupt
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, with which all the pretrained weights here were trained."""

Samples = tuple[Tensor, Tensor]
"""Images ``(N, 3, H, W)`` in bytes, and their labels."""


@dataclass(frozen=True)
class Photos:
    """What to train on, and what to test on; the training images before corruption, if anew."""

    train: Samples
    test: Samples
    clean: Tensor | None = None

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.train[1].max()) + 1


@dataclass(frozen=True)
class Draw:
    """Which photographs of a folder to take.

    Attributes:
        train: Training images, all that are left if None.
        per_class: Training images of each class instead.
        test: Test images. Without folders `train` and `test` they are set aside by the seed.
        shift: Most pixels that a training image is shifted by, either way.
        mirror: Whether half of the training images are mirrored.
        corrupt: Whether each image, for training and for testing, is corrupted in one way.
        anew: Whether a training image is corrupted in another way each time that it is shown.
    """

    train: int | None
    per_class: int | None
    test: int | None
    shift: int
    mirror: bool
    corrupt: bool = False
    anew: bool = False


def load_photos(folder: Path, size: int, draw: Draw, seed: int) -> Photos:
    """Read the images that `seed` draws, resized to squares of `size` pixels."""
    order = torch.Generator().manual_seed(seed)
    if (folder / "train").is_dir():
        training = _shuffled(_listed(folder / "train"), order)
        testing = _shuffled(_listed(folder / "test"), torch.Generator().manual_seed(0))[: draw.test]
    else:
        everything = _shuffled(_listed(folder), order)
        count = len(everything) // 2 if draw.test is None else draw.test
        testing, training = everything[:count], everything[count:]
    if draw.per_class is not None:
        training = _some_of_each(training, draw.per_class)
    parts = [_read(training[: draw.train], size), _read(testing, size)]
    clean = parts[0][0] if draw.anew else None
    if draw.corrupt:
        parts = [(_corrupted(x, 2 * seed + i), y) for i, (x, y) in enumerate(parts)]
    return Photos(*parts, clean=clean)


def prepare(images: Tensor) -> Tensor:
    """Return bytes as the networks take them: normalised floats in channels_last."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    ready: Tensor = (images.float() / 255 - mean) / std
    return ready.contiguous(memory_format=torch.channels_last)


def training_batches(
    photos: Photos, draw: Draw, batch: int, generator: torch.Generator
) -> Iterator[Samples]:
    """Yield the training images once in random order, shifted and mirrored as `draw` says."""
    x, y = photos.train if photos.clean is None else (photos.clean, photos.train[1])
    for index in torch.randperm(len(x), generator=generator)[: len(x) // batch * batch].split(
        batch
    ):
        images = _shifted(x[index], draw.shift, generator) if draw.shift else x[index]
        if draw.mirror:
            flipped = torch.rand(batch, generator=generator) < 0.5
            images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)
        if draw.anew:
            images = _corrupted(images, int(torch.randint(2**31, (), generator=generator)))
        yield prepare(images), y[index]


def _shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    height, width = images.shape[2:]
    corners = torch.randint(2 * most + 1, (len(images), 2), generator=generator).tolist()
    padded = zip(F.pad(images, [most] * 4), corners, strict=True)
    return torch.stack([image[:, i : i + height, j : j + width] for image, (i, j) in padded])


def _corrupted(images: Tensor, seed: int) -> Tensor:
    found: Tensor = (255 * corrupt(images.float() / 255, seed)).round().byte()
    return found


def _listed(folder: Path) -> list[tuple[Path, int]]:
    classes = sorted(part for part in folder.iterdir() if part.is_dir())
    return [(path, k) for k, part in enumerate(classes) for path in sorted(part.iterdir())]


def _shuffled(files: list[tuple[Path, int]], generator: torch.Generator) -> list[tuple[Path, int]]:
    return [files[i] for i in torch.randperm(len(files), generator=generator).tolist()]


def _some_of_each(files: list[tuple[Path, int]], count: int) -> list[tuple[Path, int]]:
    classes = sorted({label for _, label in files})
    return [file for k in classes for file in [f for f in files if f[1] == k][:count]]


def _read(files: list[tuple[Path, int]], size: int) -> Samples:
    resize = v2.Resize((size, size), antialias=True)
    images = []
    for path, _ in files:
        with Image.open(path) as picture:
            images.append(v2.functional.pil_to_tensor(resize(picture.convert("RGB"))))
    return torch.stack(images), torch.tensor([label for _, label in files])
