"""Small pictures: of a sample, and of what a spatial attention lets through of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

from torch import Tensor
from torchvision.transforms.v2 import functional as TF

Picture = Callable[[int], Tensor]
"""Gives the bytes ``(C, H, W)`` of the picture that a sample was made of."""

SIDE = 72
"""Pixels of a small picture's side."""


def thumbnail(image: Tensor, side: int = SIDE) -> Tensor:
    """Return a picture ``(C, H, W)`` of bytes as a square of colour ``(3, side, side)``."""
    small: Tensor = TF.resize(image, [side, side], antialias=True)
    return small.expand(3, -1, -1) if small.shape[0] == 1 else small[:3]


def lit(image: Tensor, map_: Tensor) -> Tensor:
    """Return a picture ``(3, H, W)`` whose places are as bright as a map's ``(h, w)`` are large.

    A map that is the same everywhere, as at the start, shows every place alike.
    """
    large = TF.resize(map_[None], list(image.shape[1:]), antialias=True)
    light = large / large.max().clamp(min=1e-6)
    grey = image.float().mean(0, keepdim=True).expand(3, -1, -1)
    mixed: Tensor = (0.15 + 0.85 * light) * (0.3 * grey + 0.7 * image.float())
    return mixed.clamp(0, 255).byte()


def data_uri(image: Tensor) -> str:
    """Return a picture ``(3, H, W)`` of bytes as the address of an image that holds itself."""
    file = io.BytesIO()
    TF.to_pil_image(image.contiguous()).save(file, "JPEG", quality=75)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
