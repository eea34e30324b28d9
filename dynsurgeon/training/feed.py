"""Batches of the user's data, as a model takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from dynsurgeon.errors import ConfigError
from dynsurgeon.proof.inputs import batch_size

Batch = Any
"""A tensor; a tuple or list whose first entry is the input, as data loaders yield ``(images,
labels)``; or a mapping of keyword arguments."""


def feed(model: nn.Module, batch: Batch) -> Any:
    """Call `model` on a batch and return its outputs."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(batch[0] if isinstance(batch, (tuple, list)) else batch)


def take_batches(
    model: nn.Module, batches: Iterable[Batch], samples: int | None
) -> Iterator[Batch]:
    """Yield batches on the model's device, until `samples` samples were seen.

    Raises:
        ConfigError: There is no batch, or `batches` is a single tensor or no iterable.
    """
    if isinstance(batches, (Tensor, str)) or not isinstance(batches, Iterable):
        kind = type(batches).__name__
        raise ConfigError(f"batches must be an iterable of batches, got one {kind}: wrap it in [ ]")
    tensors = (*model.parameters(), *model.buffers())
    device = next((t.device for t in tensors), torch.device("cpu"))
    seen = 0
    for batch in batches:
        if samples is not None and seen >= samples:
            return
        yield tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)
        seen += samples_of(batch)
    if not seen:
        raise ConfigError("there is no sample in batches; give at least one batch")


def samples_of(batch: Batch) -> int:
    """Return the number of samples in a batch: the length of its first tensor."""
    return batch_size(tuple(batch.values()) if isinstance(batch, Mapping) else (batch,))
