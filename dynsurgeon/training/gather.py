"""What each attention sees on data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from dynsurgeon.operators import DynamicConv
from dynsurgeon.operators.attention import global_average
from dynsurgeon.surgery.run import preserved
from dynsurgeon.training.feed import Batch, feed, samples_of, take_batches

Seen = dict[str, list[Tensor]]
"""For each site its pooled inputs ``(N, C)`` on the CPU, as pieces in order."""


def gather(
    model: nn.Module,
    convolutions: dict[str, DynamicConv],
    batches: Iterable[Batch],
    samples: int | None,
) -> tuple[Seen, int]:
    """Run the model in eval mode on data.

    Returns:
        What each site saw, and the number of samples.
    """
    seen: Seen = {name: [] for name in convolutions}
    count = 0
    with preserved(model, "eval"), _watched(convolutions, seen):
        for batch in take_batches(model, batches, samples):
            feed(model, batch)
            count += samples_of(batch)
    return seen, count


@contextmanager
def _watched(convolutions: dict[str, DynamicConv], seen: Seen) -> Iterator[None]:
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
