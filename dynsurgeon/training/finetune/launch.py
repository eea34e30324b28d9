"""Accelerate: one engine for each network, on whatever the process was launched on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from dynsurgeon.compat import accelerate_is_unused, forget_accelerate
from dynsurgeon.errors import ConfigError, DataError
from dynsurgeon.running.run import run_model
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.head import count_classes
from dynsurgeon.training.finetune.loading import Sharing
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.tracking import trackers_for

if TYPE_CHECKING:
    from accelerate import Accelerator

PLAIN = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU")
"""Kinds of launch that are supported; sharding is done here, by `fully_shard`."""


@contextmanager
def accelerators(
    settings: FinetuneSettings, count: int, logs: Path | None = None
) -> Iterator[list[Accelerator]]:
    """Give so many engines, set up alike; the first one logs into `logs`, if that is asked for.

    Raises:
        ConfigError: Accelerate is missing, or the machine, or how the process was launched, does
            not allow the settings.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise ConfigError(
            "training needs Accelerate, which is not installed; pip install 'dynsurgeon[train]'"
        ) from error
    cpu = settings.cpu or not torch.accelerator.is_available()
    if settings.precision == "fp16" and cpu:
        raise ConfigError("fp16 needs a GPU; on the CPU choose bf16, or no")
    tracking = trackers_for(settings, logs)
    fresh = accelerate_is_unused()
    try:
        with _explained():
            engines = [
                Accelerator(
                    cpu=cpu,
                    mixed_precision=settings.precision,
                    gradient_accumulation_steps=settings.accumulate,
                    **(tracking if number == 0 else {}),
                )
                for number in range(count)
            ]
        _check(engines[0], settings)
        yield engines
    finally:
        if fresh:
            forget_accelerate()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"Accelerate can't be set up so: {error}") from error


def _check(engine: Accelerator, settings: FinetuneSettings) -> None:
    if engine.distributed_type.value not in PLAIN:
        raise ConfigError(
            f"launched with {engine.distributed_type.value}, which is not supported; launch plain "
            "processes, and shard (--shard) to divide the parameters among them"
        )
    if settings.shard and engine.num_processes < 2:
        raise ConfigError("shard divides parameters among processes, but there is one alone")


def check_classes(model: nn.Module, data: TrainingData) -> None:
    """Make sure that the network gives a score for each class of the data.

    Raises:
        DataError: It gives another number of scores, or a sample is not what the network takes.
        UnsupportedModelError: It gives no scores.
    """
    sample = data.train[0][0].unsqueeze(0)
    parameter = next(model.parameters())
    inputs = torch.cat([sample, sample]).to(parameter)
    try:
        found = count_classes(model, (inputs,))
    except (RuntimeError, ValueError) as error:
        raise DataError(
            f"the network can't be run on the first sample, of shape {list(sample.shape[1:])}: "
            f"{error}"
        ) from error
    if found != len(data.classes):
        raise DataError(
            f"the data has {len(data.classes)} classes, but the network tells {found} apart; "
            "--reset-head auto puts a new last layer in its place"
        )


def check_parts(
    model: nn.Module, data: TrainingData, settings: FinetuneSettings, sharing: Sharing
) -> None:
    """Make sure that a network with BatchNorm can be trained on parts of this size.

    Raises:
        ConfigError: A part is one sample, and some BatchNorm sees one value of each channel in it.
    """
    if sharing.part_size > 1 or settings.freeze_batchnorm:
        return
    sample = data.train[0][0].unsqueeze(0).to(next(model.parameters()))
    try:
        run_model(model, (sample,), "train")
    except ValueError as error:
        raise ConfigError(
            f"one sample runs at a time, which is too few for BatchNorm ({error}); choose a larger "
            "batch, fewer accumulated parts, or --freeze-batchnorm"
        ) from error
