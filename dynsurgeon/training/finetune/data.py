"""The data of a fine-tuning: what the network is trained and measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor
from torch.utils.data import Dataset

from dynsurgeon.checks import require_choice
from dynsurgeon.errors import ConfigError
from dynsurgeon.training.finetune.pictures import (
    Bytes,
    Pictures,
    Sample,
    read_labelled,
    read_unlabelled,
)
from dynsurgeon.training.finetune.transforms import Augment, Preprocessing, measure

Images = Dataset[tuple[Tensor, int]]
Statistics = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class TrainingData:
    """Two datasets of samples ``(input, label)``.

    Random transforms may draw from torch's global generator: it is seeded for each sample.

    Attributes:
        train: The samples to train on.
        val: The samples to measure accuracy on.
        classes: Names of the classes.
        facts: What a receipt says of the data, as plain JSON values.
        plain: The samples of `train` without random transforms, for what is measured on them; None
            where `train` has none.
    """

    train: Images
    val: Images
    classes: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    plain: Images | None = None

    @property
    def unvaried(self) -> Images:
        """The training samples without random transforms, where there are such."""
        return self.train if self.plain is None else self.plain


class Transformed(Dataset[Sample]):
    """A dataset of images with a transform."""

    def __init__(self, images: Pictures | Bytes, transform: Any) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image, label = self.images[index]
        return self.transform(image), label


def load_images(
    folder: str | Path,
    size: Sequence[int],
    *,
    augment: Augment | Literal["auto"] = "auto",
    statistics: Statistics | None = None,
    val_share: float = 0.1,
    seed: int = 0,
) -> TrainingData:
    """Read a folder of labelled images.

    Args:
        folder: A folder of images for each class, below ``train`` and ``val`` or not; or one with
            the idx files of MNIST or Fashion-MNIST, packed or not.
        size: Shape of a sample ``(C, H, W)``, C being 1 or 3.
        augment: ``"crop"`` (random crop and flip), ``"flip"`` or ``"none"`` in training;
            ``"auto"`` crops image files and leaves idx files alone, where a flipped digit is none.
        statistics: Mean and deviation of each channel that the network expects; by default those of
            the training set.
        val_share: Share of each class set aside, where there is no ``val``.
        seed: Chooses them.

    Raises:
        DataError: There are no images, no labels, or one class alone.
        ConfigError: The size is not that of an image, there are statistics of other channels, or
            there is no such augmentation.
    """
    require_choice("augment", augment, ("auto", *get_args(Augment)))
    channels, *plane = _checked_size(size)
    labelled = read_labelled(Path(folder), channels, val_share=val_share, seed=seed)
    kind: Augment = _augment(labelled.kind) if augment == "auto" else augment
    prepared = _preprocessing(labelled.train, channels, plane, statistics)
    facts = {
        "train": len(labelled.train),
        "val": len(labelled.val),
        "val_from": labelled.split,
        "augment": kind,
        "preprocessing": prepared.to_dict(),
        "digest": _digest(labelled.train, labelled.val),
    }
    return TrainingData(
        Transformed(labelled.train, prepared.transform(kind)),
        Transformed(labelled.val, prepared.transform()),
        labelled.classes,
        facts,
        Transformed(labelled.train, prepared.transform()),
    )


def load_unlabelled(
    folder: str | Path, size: Sequence[int], *, statistics: Statistics | None = None
) -> Transformed:
    """Read all images below a folder, to calibrate on; see `load_images`.

    Raises:
        DataError: There are no images.
        ConfigError: The size is not that of an image, or there are statistics of other channels.
    """
    channels, *plane = _checked_size(size)
    images = read_unlabelled(Path(folder), channels)
    prepared = _preprocessing(images, channels, plane, statistics)
    return Transformed(images, prepared.transform())


def _checked_size(size: Sequence[int]) -> Sequence[int]:
    if len(size) != 3:
        shape = "x".join(map(str, size))
        raise ConfigError(f"images have channels, height and width, but the model takes {shape}")
    return size


def _augment(kind: str) -> Augment:
    return "crop" if kind == "folder" else "none"


def _preprocessing(
    images: Pictures | Bytes, channels: int, plane: Sequence[int], given: Statistics | None
) -> Preprocessing:
    if given is None:
        return measure(images, plane)
    mean, std = given
    if any(len(values) not in (1, channels) for values in given) or not all(v > 0 for v in std):
        raise ConfigError(
            f"mean and deviation are {channels} numbers each, deviations above 0; got {given!r}"
        )
    return Preprocessing(plane[0], plane[1], tuple(mean), tuple(std))


def _digest(*parts: Pictures | Bytes) -> str:
    # Names and labels, or the bytes themselves: enough to tell another set of data apart.
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Bytes):
            found.update(part.labels.numpy().tobytes() + part.images[::97].numpy().tobytes())
        else:
            names = [(Path(path).name, label) for path, label in part.files]
            found.update(repr(names).encode())
    return found.hexdigest()
