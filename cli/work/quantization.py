"""The work of ``quantize``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

import dynsurgeon as ds
from dynsurgeon.errors import DataError, UnsupportedModelError
from dynsurgeon.export.existing import batch_of
from dynsurgeon.progress import counted
from dynsurgeon.training.finetune.data import load_images, load_unlabelled
from dynsurgeon.training.finetune.head import count_classes

from ..output import ONNX
from .loading import Subject
from .normalization import facts_of, statistics_of

BATCH = 8
MOST_MEASURED = 2000
"""Images that a file is measured on, at most."""

Batches = Iterator[tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class _Images:
    """What to calibrate on, and what to measure on.

    Attributes:
        calibration: Images as the network takes them.
        test: The same, others where there are enough.
        labelled: Whether the labels of `test` are classes of the network.
        notes: What a reader should know.
    """

    calibration: Dataset[Any]
    test: Dataset[Any]
    labelled: bool
    notes: tuple[str, ...] = ()


def quantize_subject(
    subject: Subject, directory: Path, path: Path, folder: Path, count: int, normalize: str
) -> dict[str, Any]:
    """Write the file, and return what there is to tell.

    Raises:
        DataError: There are no images, or one can't be read.
        ExportError: The network can't be exported, or nothing in it quantised.
        StorageError: The file can't be written there.
    """
    images = _read(subject, folder, count, normalize)
    before = directory / ONNX
    usable = before.is_file() and batch_of(before) is None
    with _speaking_of(folder):
        result = ds.quantize_onnx(
            subject.model,
            path,
            subject.inputs,
            (inputs for inputs, _ in _batches(images.calibration)),
            _test_batches(images),
            reference=before if usable else None,
            metadata=facts_of(subject),
        )
    notes = list(images.notes)
    if not usable:
        notes.append(f"there is no {ONNX} with a free batch in '{directory}' to compare with")
    reference = ONNX if usable else "the same form in single precision"
    return {**result.to_dict(), "reference": reference, "notes": notes}


def _read(subject: Subject, folder: Path, count: int, normalize: str) -> _Images:
    size, statistics = subject.origin["input_size"], statistics_of(normalize, subject)
    try:
        found = load_images(folder, size, statistics=statistics)
    except DataError:
        return _unlabelled(load_unlabelled(folder, size, statistics=statistics), count)
    classes = _outputs(subject)
    known = (subject.origin.get("finetuned") or {}).get("classes")
    labelled = list(found.classes) == known if known else len(found.classes) == classes
    notes: tuple[str, ...] = ()
    if not labelled:
        notes = (
            f"the folder has {len(found.classes)} classes and the network {classes} outputs, or "
            "others: answers are compared, not accuracy",
        )
    calibration, test = _spaced(found.unvaried, count), _spaced(found.val, MOST_MEASURED)
    return _Images(calibration, test, labelled, notes)


def _outputs(subject: Subject) -> int:
    """Return the number of classes that the network tells apart; 0 if it is no classifier."""
    try:
        return count_classes(subject.model, subject.inputs)
    except UnsupportedModelError:
        return 0


def _unlabelled(images: Any, count: int) -> _Images:
    chosen = set(_places(len(images), count))
    rest = [place for place in range(len(images)) if place not in chosen]
    test = Subset(images, rest or sorted(chosen))
    notes = () if rest else ("measured on the very images that it was calibrated on",)
    return _Images(Subset(images, sorted(chosen)), _spaced(test, MOST_MEASURED), False, notes)


def _spaced(images: Any, count: int) -> Dataset[Any]:
    return Subset(images, _places(len(images), count))


def _places(length: int, count: int) -> Sequence[int]:
    return range(0, length, -(-length // count))


def _batches(images: Dataset[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    yield from counted(DataLoader(images, batch_size=BATCH), "batches")


def _test_batches(images: _Images) -> Batches:
    for inputs, labels in _batches(images.test):
        yield inputs, labels if images.labelled else None


@contextmanager
def _speaking_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        if str(folder) not in str(error):
            error.args = (f"'{folder}': {error}", *error.args[1:])
        raise
