"""What each attention sees on data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from torch import Tensor, nn

from dynsurgeon.operators import KernelMixture
from dynsurgeon.operators.attention import global_average
from dynsurgeon.training.batch_norm import batch_statistics, tracked_layers
from dynsurgeon.training.feed import Batch, feed, samples_of, take_batches

Statistics = Literal["batch", "running"]
"""By what BatchNorm normalises: as in training, or as in eval mode."""

Seen = dict[str, list[Tensor]]
"""For each site its pooled inputs ``(N, C)`` on the CPU, as pieces in order."""


def gather(
    model: nn.Module,
    convolutions: dict[str, KernelMixture],
    batches: Iterable[Batch],
    samples: int | None,
    statistics: Statistics,
) -> tuple[Seen, int]:
    """Run the model on data, in eval mode but for BatchNorm's statistics.

    By the batch's statistics, a batch of a single sample is left out: it has none.

    Returns:
        What each site saw, and the number of samples.
    """
    seen: Seen = {name: [] for name in convolutions}
    count = 0
    layers = tracked_layers(model) if statistics == "batch" else {}
    with batch_statistics(model, layers), _watched(convolutions, seen):
        for batch in take_batches(model, batches, samples):
            if layers and samples_of(batch) < 2:
                continue
            feed(model, batch)
            count += samples_of(batch)
    return seen, count


@contextmanager
def _watched(convolutions: dict[str, KernelMixture], seen: Seen) -> Iterator[None]:
    def watch(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[name].append(global_average(inputs[0].detach()).cpu())

    handles = [
        conv.attention.register_forward_pre_hook(partial(watch, name))
        for name, conv in convolutions.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
