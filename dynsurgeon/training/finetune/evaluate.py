"""Accuracy of the arms on the validation set, and how far they differ on the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import torch
import torch.nn.functional as F
from torch import Tensor

from dynsurgeon.training.finetune.arm import Arm
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.listener import Listener, watched
from dynsurgeon.training.finetune.loading import Sharing, validation_batches
from dynsurgeon.training.finetune.results import Gain, Score


def evaluate(
    arms: Sequence[Arm],
    data: TrainingData,
    sharing: Sharing,
    workers: int,
    *,
    adjusted: bool = True,
    listener: Listener | None = None,
) -> tuple[dict[str, Score], Gain | None]:
    """Run the arms over the validation set.

    Args:
        arms: One network, or the dynamic one and its static twin.
        data: Whose validation set it is.
        sharing: How many samples run at once, on how many processes.
        workers: Processes that read.
        adjusted: Measure each arm as it would be saved now: see `Arm.evaluating`.
        listener: Is told how far it is.

    Returns:
        Loss and accuracy by the arm's name, and the first arm's gain over the second.
    """
    sums = {arm.name: torch.zeros(3, dtype=torch.float64) for arm in arms}
    apart = torch.zeros(2, dtype=torch.float64)
    with ExitStack() as stack:
        for arm in arms:
            stack.enter_context(arm.evaluating(adjusted=adjusted))
        total, batches = validation_batches(data, sharing, workers=workers)
        seen = watched(batches, total, "evaluation", listener or Listener())
        for inputs, labels, counts in seen:
            right = [_score(arm, inputs, labels, counts, sums) for arm in arms]
            if len(right) == 2:
                apart += torch.stack([(right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum()])
    return _reduce(arms, sums, apart)


def _score(
    arm: Arm, inputs: Tensor, labels: Tensor, counts: Tensor, sums: Mapping[str, Tensor]
) -> Tensor:
    scores = arm.scores(inputs).float().cpu()
    losses = F.cross_entropy(scores, labels, reduction="none").double()
    right = (scores.argmax(1) == labels) & counts
    sums[arm.name] += torch.stack([losses[counts].sum(), right.sum().double(), counts.sum()])
    return right


def _reduce(
    arms: Sequence[Arm], sums: Mapping[str, Tensor], apart: Tensor
) -> tuple[dict[str, Score], Gain | None]:
    accelerator = arms[0].accelerator
    numbers = torch.cat([*sums.values(), apart])
    if accelerator.num_processes > 1:
        numbers = accelerator.reduce(numbers.to(accelerator.device)).cpu()
    scores = {}
    for i, name in enumerate(sums):
        loss, correct, count = numbers[3 * i : 3 * i + 3].tolist()
        scores[name] = Score(loss / count, correct / count)
    if len(arms) < 2:
        return scores, None
    won, lost = numbers[-2:].tolist()
    return scores, Gain.from_counts(int(won), int(lost), int(count))
