"""Images from files, as a network takes them; Pillow reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynsurgeon.deploy.facts import Preprocessing
from dynsurgeon.errors import DataError

LARGE, MARGIN = 64, 0.875
"""As in `training.finetune.transforms`: smaller images are not cropped."""

MODES = {1: "L", 3: "RGB"}


def read_image(path: str | Path, how: Preprocessing, channels: int = 3) -> NDArray[np.float32]:
    """Read an image ``(channels, height, width)`` as in validation after fine-tuning.

    Args:
        path: The image.
        how: Size, mean and deviation.
        channels: 3 for colour, 1 for grey.

    Raises:
        DataError: It can't be read as an image, or Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError("images are read with Pillow: pip install pillow") from error
    try:
        with Image.open(path) as image:
            picture = image.convert(MODES[channels])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"'{path}' can't be read as an image: {error}") from error
    pixels = np.asarray(_fitted(picture, how), np.float32).reshape(how.height, how.width, channels)
    mean, std = (np.asarray(values, np.float32) for values in (how.mean, how.std))
    scaled: NDArray[np.float32] = ((pixels / 255 - mean) / std).astype(np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _fitted(picture: Any, how: Preprocessing) -> Any:
    from PIL import Image

    bilinear, size = Image.Resampling.BILINEAR, (how.width, how.height)
    if min(size) < LARGE:
        return picture.resize(size, bilinear)
    factor = round(max(size) / MARGIN) / min(picture.size)
    large = [max(int(side * factor), round(max(size) / MARGIN)) for side in picture.size]
    left, top = (round((a - b) / 2) for a, b in zip(large, size, strict=True))
    box = (left, top, left + how.width, top + how.height)
    return picture.resize(large, bilinear).crop(box)
