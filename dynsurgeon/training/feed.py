"""Batches of the user's data, as a model takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.compat import tree_map
from dynsurgeon.errors import ConfigError
from dynsurgeon.running.fresh import first_axis
from dynsurgeon.running.inputs import Inputs

Batch = Any
"""A tensor; a tuple or list whose first entry is the input, as data loaders yield ``(images,
labels)``; a mapping of keyword arguments; or `Inputs`."""


def feed(model: nn.Module, batch: Batch) -> Any:
    """Call `model` on a batch and return its outputs."""
    return _call(batch).call(model)


def _call(batch: Batch) -> Inputs:
    if isinstance(batch, Mapping | Inputs):
        return Inputs.of(batch)
    return Inputs(batch[0] if isinstance(batch, (tuple, list)) else batch)


def take_batches(
    model: nn.Module, batches: Iterable[Batch], samples: int | None
) -> Iterator[Batch]:
    """Yield batches on the model's device, until `samples` samples were seen.

    Raises:
        ConfigError: There is no batch, or `batches` is a single tensor or no iterable.
    """
    if isinstance(batches, (Tensor, str, Mapping)) or not isinstance(batches, Iterable):
        kind = type(batches).__name__
        raise ConfigError(f"batches must be an iterable of batches, got one {kind}: wrap it in [ ]")
    tensors = (*model.parameters(), *model.buffers())
    device = next((t.device for t in tensors), torch.device("cpu"))
    seen = 0
    for batch in batches:
        if samples is not None and seen >= samples:
            return
        batch = dict(batch) if isinstance(batch, Mapping) else batch  # tree_map knows dicts alone
        yield tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, batch)
        seen += samples_of(batch)
    if not seen:
        raise ConfigError("there is no sample in batches; give at least one batch")


def samples_of(batch: Batch) -> int:
    """Return the number of samples in a batch: the length of its first tensor."""
    return first_axis(_call(batch))
