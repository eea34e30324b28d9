"""Before the first step: attention fitted to the training images, where it has not been yet.

The network's recipe tells whether it has been. Those of earlier versions do not; there a new
attention's weights lie within the bounds that torch draws a new layer from, and fitted ones do not.

A network that comes to images unlike those of its pretraining changes much in its first steps, and
an attention that was fitted before goes astray: each site is one-hot, on another kernel every few
steps. EfficientNet-Lite0 with ImageNet's weights had 27 % in training on hand signs with it, 90 %
without. So it is fitted only where BatchNorm's statistics say that the images are not so unlike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dynsurgeon.operators import KernelAttention, KernelMixture
from dynsurgeon.recipe import ATTRIBUTE, Recipe
from dynsurgeon.training.batch_norm import BatchNorm, estimate, lags, tracked_layers
from dynsurgeon.training.calibrate import calibrate
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.listener import Listener, watched
from dynsurgeon.training.finetune.loading import even_batches, plain_batches
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.sharding import of_first
from dynsurgeon.training.report import AttentionReport

if TYPE_CHECKING:
    from accelerate import Accelerator

SAMPLES, BATCH = 4096, 64
"""Training images that attention is fitted to at most, and how many run at once at most."""

LOOK, UNLIKE = 256, 0.1
"""Training images to look at, and from how many standard deviations on they are unlike those of the
pretraining. Fitting paid at 0.06, not at 0.2, and did harm at 0.26 and 1.2 (docs/accuracy.md)."""


def calibrate_start(
    dynamic: nn.Module,
    data: TrainingData,
    settings: FinetuneSettings,
    engine: Accelerator,
    listener: Listener | None = None,
) -> tuple[AttentionReport | None, str | None]:
    """Fit the attention to training images without augmentation, if the settings want it.

    The first process does it, and all others get its attention. The network computes what it
    computed before.

    Args:
        dynamic: The network before its first step, whole; put on the engine's device.
        data: Whose training set it is.
        settings: Whether; the seed; and the temperature that training ends at, which is set.
        engine: Of this process.
        listener: Is told how far it is.

    Returns:
        The attention as fitted, None if it was not; and then why, where a user would expect it.

    Raises:
        UnsupportedModelError: The settings insist, and there is no attention that could be fitted.
        DataError: An image can't be read, or a label is that of no class.
    """
    listener = listener or Listener()
    if not settings.calibrate or (settings.calibrate == "auto" and not is_fresh(dynamic)):
        return None, None
    dynamic.to(engine.device)
    if settings.calibrate == "auto" and (reason := _obstacle(dynamic, data, settings, engine)):
        return None, reason
    report = None
    if engine.is_main_process:
        report = calibrate(
            dynamic,
            _batches(data, settings, listener),
            temperature=settings.temperature_end,
            samples=None,
            seed=settings.seed,
            statistics="running" if settings.freeze_batchnorm else "batch",
        )
    return (report if engine.num_processes == 1 else _share(dynamic, report)), None


def _obstacle(
    dynamic: nn.Module, data: TrainingData, settings: FinetuneSettings, engine: Accelerator
) -> str | None:
    apart = 0.0 if settings.freeze_batchnorm else _unlikeness(dynamic, data, settings)
    apart = float(of_first(torch.tensor(apart), engine))  # or all would not do the same
    if apart <= UNLIKE:
        return None
    return (
        f"the attention was not fitted: BatchNorm's pretrained statistics are {apart:.1f} standard "
        "deviations from those of these images, and a fitted attention goes astray while the "
        "network gets used to them; calibrate insists"
    )


def _unlikeness(dynamic: nn.Module, data: TrainingData, settings: FinetuneSettings) -> float:
    """Return how far a layer's running statistics are from the images' at most, in deviations."""
    layers = {name: layer for name, layer in tracked_layers(dynamic).items() if _has_learnt(layer)}
    _, batches = even_batches(data, LOOK, BATCH // 2, seed=settings.seed, workers=settings.workers)
    found = estimate(dynamic, layers, batches, None)[0] if layers else {}
    return max(lags(layers, found).values(), default=0.0)


def _has_learnt(layer: BatchNorm) -> bool:
    mean, variance = layer.running_mean, layer.running_var
    return mean is not None and variance is not None and bool(mean.any() or (variance != 1).any())


def is_fresh(model: nn.Module) -> bool:
    """Whether a network has attention, all as conversion made it, over kernels that are the same.

    Sites of one kernel don't count: there is nothing to choose.
    """
    mixing = [m for m in model.modules() if isinstance(m, KernelMixture) and m.experts > 1]
    if not mixing or not all(layer.has_identical_kernels for layer in mixing):
        return False
    recipe: Recipe | None = getattr(model, ATTRIBUTE, None)
    if recipe is None or recipe.fitted is None:
        return not any(_looks_fitted(layer.attention) for layer in mixing)
    return not recipe.fitted


def _looks_fitted(attention: KernelAttention) -> bool:
    for layer in (attention.fc1, attention.fc2):
        bound = 1.01 / math.sqrt(layer.in_features)  # and some room for half precision
        if any(float(tensor.detach().abs().max()) > bound for tensor in layer.parameters()):
            return True
    return False


def _batches(
    data: TrainingData, settings: FinetuneSettings, listener: Listener
) -> Iterator[Tensor]:
    # Of the same size on any number of processes, which would make a difference in the roundings.
    size = min(BATCH, max(settings.batch // settings.accumulate, 1))
    total = -(-min(SAMPLES, len(data.unvaried)) // size)  # type: ignore[arg-type]
    batches = plain_batches(data, SAMPLES, size, seed=settings.seed, workers=settings.workers)
    return watched(batches, total, "calibration", listener)


@torch.no_grad()
def _share(dynamic: nn.Module, report: AttentionReport | None) -> AttentionReport | None:
    from accelerate.utils import broadcast, broadcast_object_list

    for module in dynamic.modules():
        if isinstance(module, KernelAttention):
            for tensor in (*module.parameters(), *module.buffers()):
                tensor.copy_(broadcast(tensor.clone()))
    reports = [report]
    broadcast_object_list(reports)
    return reports[0]
