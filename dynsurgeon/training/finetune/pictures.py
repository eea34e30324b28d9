"""Images with labels, from folders or idx files, before any transform."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset
from torchvision.transforms.v2 import functional as TF

from dynsurgeon.errors import ConfigError, DataError
from dynsurgeon.training.finetune.idx import FASHION, find_idx, read_part

Sample = tuple[Tensor, int]
MODES = {1: "L", 3: "RGB"}
"""How Pillow calls images of so many channels."""

TRAIN = ("train", "training")
VAL = ("val", "valid", "validation", "test")


class Pictures(Dataset[Sample]):
    """Image files with labels; an item is ``(C, H, W)`` bytes and the label."""

    def __init__(self, files: Sequence[tuple[str, int]], channels: int) -> None:
        self.files, self.mode = tuple(files), MODES[channels]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        path, label = self.files[index]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    return TF.pil_to_tensor(image.convert(self.mode)), label
        except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
            raise DataError(f"'{path}' can't be read as an image: {error}") from error


class Bytes(Dataset[Sample]):
    """Images in memory, ``(N, 1, H, W)`` bytes, shown with as many channels as are wanted."""

    def __init__(self, images: Tensor, labels: Tensor, channels: int) -> None:
        self.images, self.labels, self.channels = images, labels, channels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return self.images[index].expand(self.channels, -1, -1), int(self.labels[index])


@dataclass(frozen=True)
class Labelled:
    """A training and a validation set.

    Attributes:
        train: The images to train on.
        val: The images to measure on.
        classes: Names of the classes; a label is a position among them.
        kind: ``"folder"`` or ``"idx"``.
        split: Where the validation set comes from, in words.
    """

    train: Pictures | Bytes
    val: Pictures | Bytes
    classes: tuple[str, ...]
    kind: str
    split: str


def read_labelled(folder: Path, channels: int, *, val_share: float, seed: int) -> Labelled:
    """Find the labelled images in a folder.

    Args:
        folder: With the idx files of MNIST or Fashion-MNIST; or a folder a class, below ``train``
            and ``val`` or not.
        channels: 1 for grey images, 3 for colour.
        val_share: Share of each class that is set aside where the folder has no validation set.
        seed: Chooses them.

    Raises:
        DataError: There are no images, no labels, or only one class.
        ConfigError: The model takes images of other channels, or `val_share` is no share.
    """
    _check(folder, channels, val_share)
    place = find_idx(folder)
    if place is not None:
        return _from_idx(place, channels)
    train = _subfolder(folder, TRAIN)
    val = _subfolder(folder, VAL) if train is not None else None
    classes, files = _scan(train or folder)
    if val is not None:
        _, held = _scan(val, classes)
        split = f"'{val.name}'"
    else:
        files, held = _divide(files, val_share, seed)
        split = f"{val_share:.0%} of each class, chosen with seed {seed}"
    if not held:
        raise DataError(f"'{val or folder}' leaves no image to validate on; set more of them aside")
    return Labelled(Pictures(files, channels), Pictures(held, channels), classes, "folder", split)


def read_unlabelled(folder: Path, channels: int) -> Pictures | Bytes:
    """Find all images below a folder, or in its idx files; labels don't count (all 0 for files).

    Raises:
        DataError: There is none.
        ConfigError: The model takes images of other channels.
    """
    _check(folder, channels, 0.5)
    place = find_idx(folder)
    if place is not None:
        return Bytes(*read_part(place, "train"), channels)
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMG_EXTENSIONS)
    if not paths:
        raise DataError(f"'{folder}' holds no images ({', '.join(IMG_EXTENSIONS)})")
    return Pictures([(str(path), 0) for path in paths], channels)


def _check(folder: Path, channels: int, val_share: float) -> None:
    if channels not in MODES:
        raise ConfigError(f"images have 1 or 3 channels, but the model takes {channels}")
    if not 0 < val_share < 1:
        raise ConfigError(f"the validation share must lie between 0 and 1, got {val_share}")
    if not folder.is_dir():
        raise DataError(f"there is no folder '{folder}'")


def _from_idx(place: Path, channels: int) -> Labelled:
    train, val = (read_part(place, part) for part in ("train", "val"))
    count = int(max(train[1].max(), val[1].max())) + 1 if len(train[1]) and len(val[1]) else 0
    if count < 2:
        raise DataError(f"the files in '{place}' hold images of {count} classes; it takes two")
    digits = tuple(map(str, range(count)))
    classes = FASHION if "fashion" in str(place.resolve()).lower() and count == 10 else digits
    return Labelled(Bytes(*train, channels), Bytes(*val, channels), classes, "idx", "t10k")


def _subfolder(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _scan(
    folder: Path, classes: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
    try:
        found, _ = find_classes(folder)
    except FileNotFoundError:
        loose = any(p.suffix.lower() in IMG_EXTENSIONS for p in folder.iterdir())
        what = "holds images without labels" if loose else "is empty"
        raise DataError(f"'{folder}' {what}; put each class's images into a folder") from None
    if classes is not None and not set(found) <= set(classes):
        strange = next(name for name in found if name not in classes)
        raise DataError(f"'{folder}' has a class {strange!r} that the training set lacks")
    order = classes or tuple(found)
    numbers = {name: order.index(name) for name in found}
    files = make_dataset(folder, numbers, extensions=IMG_EXTENSIONS, allow_empty=True)
    filled = {label for _, label in files}
    empty = [name for name, label in numbers.items() if label not in filled]
    if empty and classes is None:
        raise DataError(f"'{folder}/{empty[0]}' holds no images ({', '.join(IMG_EXTENSIONS)})")
    if len(order) < 2:
        raise DataError(f"'{folder}' has one class, {order[0]!r}: nothing to tell apart")
    return order, files


def _divide(
    files: list[tuple[str, int]], share: float, seed: int
) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    generator = torch.Generator().manual_seed(seed)
    held: set[int] = set()
    for label in sorted({label for _, label in files}):
        own = [i for i, (_, other) in enumerate(files) if other == label]
        count = min(max(round(share * len(own)), 1), len(own) - 1)
        held |= {own[i] for i in torch.randperm(len(own), generator=generator)[:count].tolist()}
    return (
        [file for i, file in enumerate(files) if i not in held],
        [file for i, file in enumerate(files) if i in held],
    )
