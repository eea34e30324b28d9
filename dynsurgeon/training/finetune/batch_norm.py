"""BatchNorm statistics that fit the weights, for whatever is measured and saved.

Training itself normalises by the statistics of each batch and keeps its running ones, followed by
momentum: what is re-estimated here is put in place for a while, and changes nothing in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch

from dynsurgeon.training.batch_norm import Estimates, estimates_of, gathering, lags, present
from dynsurgeon.training.finetune.arm import Arm
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.listener import Listener, watched
from dynsurgeon.training.finetune.loading import even_batches
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.sharding import of_first

if TYPE_CHECKING:
    from accelerate import Accelerator

BATCH = 32
"""Images that run at once at least, where there are as many, and fewer than twice as many."""

LOOK = 256
"""Images that tell whether statistics lag, where they are not to be re-estimated."""

LARGE = 0.5
"""A lag that is worth a note, in deviations: a momentum of 0.1 comes below 0.1 in tens of steps."""


def fit_statistics(
    arms: Sequence[Arm],
    data: TrainingData,
    settings: FinetuneSettings,
    listener: Listener,
    *,
    last: bool,
) -> dict[str, float]:
    """Re-estimate the statistics that each arm is measured and saved with, until its next step.

    With its moving average in place, if it has one. All processes read the same images, and get
    what the first one found.

    Args:
        arms: One network or both.
        data: The statistics are of its training images without augmentation.
        settings: Of how many images; 0 leaves the statistics that momentum found.
        listener: Is told how far it is.
        last: Whether training is over: then how far those lag is looked at in any case.

    Returns:
        By the arm's name, how much the statistics that momentum found lag behind the weights: see
        `BatchNormReport.worst`. Empty where that was not looked at.
    """
    arms = [arm for arm in arms if arm.layers]
    for arm in arms:
        arm.statistics = None
    most = settings.batchnorm_samples or (LOOK if last else 0)
    with ExitStack() as stack:
        for arm in arms:
            stack.enter_context(arm.evaluating())
        found = _estimates(arms, data, settings, most, listener) if most and arms else {}
        behind = {name: _worst(arm, found[name]) for name, arm in _named(arms) if found}
        if not settings.batchnorm_samples:
            found = {name: present(arm.layers) for name, arm in _named(arms)}
    for name, arm in _named(arms):
        arm.statistics = _shared(found[name], arm.accelerator)
    return behind


def _named(arms: Sequence[Arm]) -> list[tuple[str, Arm]]:
    return [(arm.name, arm) for arm in arms]


def _estimates(
    arms: Sequence[Arm],
    data: TrainingData,
    settings: FinetuneSettings,
    most: int,
    listener: Listener,
) -> dict[str, Estimates]:
    total, batches = even_batches(data, most, BATCH, seed=settings.seed, workers=settings.workers)
    with ExitStack() as stack:
        moments = {arm.name: stack.enter_context(gathering(arm.core, arm.layers)) for arm in arms}
        for inputs in watched(batches, total, "BatchNorm statistics", listener):
            for arm in arms:
                arm.scores(inputs)
    return {name: estimates_of(arm.layers, moments[name]) for name, arm in _named(arms)}


def _worst(arm: Arm, found: Estimates) -> float:
    worst = max(lags(arm.layers, found).values(), default=0.0)
    return float(of_first(torch.tensor(worst), arm.accelerator))


def _shared(found: Estimates, accelerator: Accelerator) -> Estimates:
    return {
        name: (of_first(mean, accelerator), of_first(variance, accelerator))
        for name, (mean, variance) in found.items()
    }


def lag_notes(behind: Mapping[str, float], settings: FinetuneSettings) -> list[str]:
    """Say where statistics that momentum found were far from what the weights make of the data."""
    notes = []
    for name, lag in behind.items():
        if lag > LARGE:
            what = (
                f"the running BatchNorm statistics of the {name} network lagged behind its weights "
                f"by up to {lag:.1f} standard deviations"
            )
            done = f"re-estimated on up to {settings.batchnorm_samples} training images"
            advice = "accuracy suffers from that; re-estimate them (batchnorm_samples above 0)"
            notes.append(f"{what}: {done if settings.batchnorm_samples else advice}")
    return notes
