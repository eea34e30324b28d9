"""The work of ``inspect``: images in, findings and pictures out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset

import dynsurgeon as ds
from dynsurgeon.errors import DataError, StorageError
from dynsurgeon.files import staged_folder
from dynsurgeon.progress import counted
from dynsurgeon.reports.inspection import require_matplotlib, write_inspection
from dynsurgeon.training.finetune.data import Transformed, load_unlabelled
from dynsurgeon.training.finetune.pictures import Pictures

from ..output import INSPECTION
from ..progress import Steps
from .loading import Subject, reload_subject
from .normalization import statistics_of

BATCH = 32


@dataclass(frozen=True)
class Inspected:
    """What was found, and where it lies.

    Attributes:
        found: What the sites do.
        directory: Where findings and pictures lie.
        drawn: Number of pictures.
    """

    found: ds.Inspection
    directory: Path
    drawn: int


def inspect_directory(
    directory: Path,
    folder: Path,
    *,
    model: str | None,
    normalize: str,
    samples: int,
    pictures: int,
    step: Steps,
) -> Inspected:
    """Run the network in a directory on images, and write what its sites do with them.

    Raises:
        StorageError: The directory is not one of ours, or can't be written.
        DataError: There are no images, or one can't be read.
        ConfigError: matplotlib is missing, or an option is not valid.
    """
    if pictures:
        require_matplotlib()
    subject = reload_subject(directory, model)
    images, labels, classes = _images(folder, subject, normalize, samples)
    step(f"running {len(labels)} images")
    found = ds.inspect(subject.model, _batches(images, labels), classes=classes)
    target = directory / INSPECTION
    step("drawing")
    try:
        with staged_folder(target) as staging:
            drawn = write_inspection(staging, found, _Thumbnails(images), pictures)
    except OSError as error:
        raise StorageError(f"'{target}' can't be written: {error.strerror}") from error
    return Inspected(found, target, drawn)


def _images(
    folder: Path, subject: Subject, normalize: str, samples: int
) -> tuple[Subset[Any], list[int], tuple[str, ...] | None]:
    """Return evenly spaced images in the order of their classes, labels, and names of classes."""
    statistics = statistics_of(normalize, subject)
    images = load_unlabelled(folder, subject.origin["input_size"], statistics=statistics)
    if len(images) < 2:
        raise DataError(f"'{folder}' holds one image; it takes two to see a difference")
    numbers, names = _classes(images, folder)
    order = sorted(range(len(images)), key=lambda i: numbers[i])
    count = min(samples, len(order))
    chosen = [order[i * len(order) // count] for i in range(count)]
    return Subset(images, chosen), [numbers[i] for i in chosen], names


def _classes(images: Transformed, folder: Path) -> tuple[list[int], tuple[str, ...] | None]:
    """Return each image's class and their names: the folder that it lies in."""
    inside = images.images
    if not isinstance(inside, Pictures):
        labels = inside.labels.tolist()
        return labels, tuple(map(str, range(max(labels) + 1)))
    parents = [Path(path).parent for path, _ in inside.files]
    if all(parent == folder for parent in parents):
        return [0] * len(parents), None
    names = sorted({parent.name for parent in parents})
    return [names.index(parent.name) for parent in parents], tuple(names)


def _batches(images: Subset[Any], labels: list[int]) -> Iterator[Any]:
    done = 0
    for pictures, _ in counted(DataLoader(images, batch_size=BATCH), "batches"):
        yield pictures, torch.tensor(labels[done : done + len(pictures)])
        done += len(pictures)


class _Thumbnails:
    """Gives the pictures that samples were made of, as bytes ``(C, H, W)``."""

    def __init__(self, images: Subset[Any]) -> None:
        self.images = images

    def __call__(self, sample: int) -> torch.Tensor:
        whole = self.images.dataset
        assert isinstance(whole, Transformed)
        image, _ = whole.images[self.images.indices[sample]]
        return image
