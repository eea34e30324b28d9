"""The work of ``convert --calibrate``: attention fitted to images, before parity is checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

import dynsurgeon as ds
from dynsurgeon.errors import DataError
from dynsurgeon.progress import counted
from dynsurgeon.training.finetune.calibration import BATCH, SAMPLES
from dynsurgeon.training.finetune.data import load_unlabelled

from .loading import Subject
from .normalization import statistics_of


def calibrate_on(
    folder: Path, dynamic: nn.Module, subject: Subject, normalize: str, seed: int
) -> ds.AttentionReport:
    """Fit the attention of `dynamic` to the images in a folder, labelled or not.

    Raises:
        DataError: There are no images, or one can't be read.
        ConfigError: The network takes no images, or `normalize` is not valid.
        UnsupportedModelError: There is no attention, or it can't be fitted without a change.
    """
    statistics = statistics_of(normalize, subject)
    images = load_unlabelled(folder, subject.origin["input_size"], statistics=statistics)
    spaced = range(0, len(images), -(-len(images) // SAMPLES))

    def batches() -> Iterator[Tensor]:
        loader = DataLoader(Subset(images, spaced), batch_size=BATCH)
        for pictures, _ in counted(loader, "batches"):
            yield pictures

    try:
        return ds.calibrate(dynamic, batches(), samples=None, seed=seed)
    except ds.ConfigError as error:
        raise DataError(f"'{folder}' can't be calibrated on: {error}") from error
