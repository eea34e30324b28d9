"""What a run will train, counted before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import nn

from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.listener import Setup
from dynsurgeon.training.finetune.loading import steps_an_epoch
from dynsurgeon.training.finetune.rates import make_optimizer
from dynsurgeon.training.finetune.settings import FinetuneSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


def describe(
    models: Mapping[str, nn.Module],
    data: TrainingData,
    settings: FinetuneSettings,
    engine: Accelerator,
) -> Setup:
    """Count images, steps and parameters.

    Raises:
        ConfigError: Nothing is left to train, or there are fewer images than a batch.
        PatternError: A name in ``settings.freeze`` selects nothing.
    """
    train: int = len(data.train)  # type: ignore[arg-type]
    return Setup(
        train=train,
        val=len(data.val),  # type: ignore[arg-type]
        classes=len(data.classes),
        batch=settings.batch,
        steps=steps_an_epoch(train, settings.batch),
        epochs=settings.epochs,
        processes=engine.num_processes,
        device=engine.device.type,
        parameters={name: sum(p.numel() for p in m.parameters()) for name, m in models.items()},
        trainable={name: _trainable(model, settings) for name, model in models.items()},
    )


def _trainable(model: nn.Module, settings: FinetuneSettings) -> int:
    groups = make_optimizer(model, settings.at(1.0)).param_groups
    return sum(parameter.numel() for group in groups for parameter in group["params"])
