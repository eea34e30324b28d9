"""``export --data``: how often a file answers as the network does, on real images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Subset

from dynsurgeon import deploy
from dynsurgeon.errors import DataError
from dynsurgeon.export.detectors.matching import match, total
from dynsurgeon.export.detectors.one_image import Detector
from dynsurgeon.progress import counted
from dynsurgeon.running.run import preserved
from dynsurgeon.runtimes.onnxruntime import Session
from dynsurgeon.training.finetune.data import load_unlabelled

from .loading import Subject
from .normalization import statistics_of

BATCH, MOST = 8, 200
"""Images at once, and in all."""


def images_in(folder: Path, subject: Subject, normalize: str) -> Dataset[Any]:
    """Find the images in a folder, labelled or not, spaced evenly where there are many.

    Raises:
        DataError: There are no images.
        ConfigError: The network takes no images, or `normalize` is not valid.
    """
    size, statistics = subject.origin["input_size"], statistics_of(normalize, subject)
    images = load_unlabelled(folder, size, statistics=statistics)
    return Subset(images, range(0, len(images), -(-len(images) // MOST)))


def boxes_on(images: Dataset[Any], subject: Subject, path: Path) -> dict[str, Any]:
    """Run a detector and its file on images, and match their boxes.

    Raises:
        DataError: An image can't be read.
    """
    detector, session, found = Detector(subject.model), Session(path), []
    with preserved(subject.model, "eval"):
        for image, _ in DataLoader(images, batch_size=1):
            expected = list(detector(image).values())
            found.append(match(expected, session.run([image]), max(image.shape[-2:])))
    return {"images": len(found), **asdict(total(found))}


def agreement_on(images: Dataset[Any], subject: Subject, path: Path) -> dict[str, Any]:
    """Run the network and its file on images, and count equal answers.

    Raises:
        DataError: An image can't be read, or the output is no table of scores.
    """
    network = deploy.load(path)
    count, hits, widest, largest = 0, 0, 0.0, 1e-30
    with preserved(subject.model, "eval"):
        for inputs, _ in counted(DataLoader(images, batch_size=BATCH), "batches"):
            scores = subject.model(inputs)
            if not isinstance(scores, torch.Tensor) or scores.dim() != 2:
                raise DataError("answers are compared of classifiers, whose output is (N, classes)")
            found = torch.from_numpy(network(inputs.numpy()))
            count += len(found)
            hits += int((found.argmax(1) == scores.argmax(1)).sum())
            widest = max(widest, float((found - scores).abs().max()))
            largest = max(largest, float(scores.abs().max()))
    return {"images": count, "agreement": hits / count, "max_rel": widest / largest}
