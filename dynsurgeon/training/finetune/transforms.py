"""From bytes to what the network is fed: size, augmentation, mean and deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

Augment = Literal["none", "flip", "crop"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation that torchvision's weights were trained with."""

LARGE = 64
"""Height from which images are cropped as ImageNet's are; smaller ones are padded and cropped."""
MARGIN = 0.875
"""Share of a large image's shorter side that is left in the middle for validation."""
MEASURED = 2048
"""Images that mean and deviation are measured on."""


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the network sees it, without augmentation.

    Attributes:
        height: Rows.
        width: Columns.
        mean: Subtracted from the values in [0, 1], by channel.
        std: Then divided by, by channel.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    def transform(self, augment: Augment | None = None) -> v2.Compose:
        """Build the transform from bytes ``(C, H, W)`` to floats ``(C, height, width)``.

        Args:
            augment: How images are varied in training; None for validation.
        """
        end = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(self.mean, self.std)]
        return v2.Compose([*_geometry(self.height, self.width, augment), *end])


def _geometry(height: int, width: int, augment: Augment | None) -> list[v2.Transform]:
    size, large = [height, width], min(height, width) >= LARGE
    if augment == "crop":
        crop: list[v2.Transform] = (
            [v2.RandomResizedCrop(size, antialias=True)]
            if large
            else [v2.Resize(size, antialias=True), v2.RandomCrop(size, padding=height // 8)]
        )
        return [*crop, v2.RandomHorizontalFlip()]
    if large:
        side = round(max(size) / MARGIN)
        fit: list[v2.Transform] = [v2.Resize(side, antialias=True), v2.CenterCrop(size)]
    else:
        fit = [v2.Resize(size, antialias=True)]
    return [*fit, v2.RandomHorizontalFlip()] if augment == "flip" else fit


def measure(images: Dataset[tuple[Tensor, int]], size: Sequence[int]) -> Preprocessing:
    """Choose mean and deviation so that these images have mean 0 and deviation 1 in each channel.

    At most `MEASURED` images count, evenly spaced.
    """
    height, width = size
    plain = Preprocessing(height, width, (0.0,), (1.0,)).transform()
    count: int = len(images)  # type: ignore[arg-type]
    chosen = range(0, count, -(-count // MEASURED))
    values = torch.stack([_moments(plain(images[i][0])) for i in chosen]).mean(0)
    mean, square = values
    std = (square - mean.square()).clamp_min(1e-6).sqrt()
    return Preprocessing(height, width, tuple(mean.tolist()), tuple(std.tolist()))


def _moments(image: Tensor) -> Tensor:
    pixels = image.double().flatten(1)
    return torch.stack([pixels.mean(1), pixels.square().mean(1)])
