"""The loop: SGD with a cosine, on images that are one tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH = 128
SHIFT = 2


def batches(x: Tensor, y: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images once in random order, without the last batch if it is short.

    Each image is shifted by up to `SHIFT` pixels either way, and half of them are mirrored.
    """
    size = x.shape[2]
    padded = F.pad(x, [SHIFT] * 4, value=float(x.min()))
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)  # a view
    order = torch.randperm(len(x), generator=generator)
    for index in order[: len(x) // BATCH * BATCH].view(-1, BATCH):
        rows, columns = torch.randint(2 * SHIFT + 1, (2, BATCH), generator=generator)
        images = windows[index, :, rows, columns]
        mirrored = torch.rand(BATCH, generator=generator) < 0.5
        images[mirrored] = images[mirrored].flip(3)
        yield images, y[index]


def fit(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    groups: Iterable[dict[str, Any]],
    *,
    epochs: int,
    seed: int,
    every_step: Callable[[], None] = lambda: None,
    prepare: Callable[[torch.optim.Optimizer], None] = lambda optimizer: None,
) -> None:
    """Train with SGD (momentum 0.9, Nesterov); every group's rate follows one cosine to 0.

    The first 100 steps warm up. `seed` orders the images: the same order for every variant.
    """
    optimizer = torch.optim.SGD(list(groups), lr=0.1, momentum=0.9, nesterov=True)
    prepare(optimizer)
    steps = epochs * (len(x) // BATCH)
    base = [group["lr"] for group in optimizer.param_groups]
    generator = torch.Generator().manual_seed(seed)
    step = 0
    model.train()
    for _ in range(epochs):
        for images, labels in batches(x, y, generator):
            share = min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
            for rate, group in zip(base, optimizer.param_groups, strict=True):
                group["lr"] = rate * share
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            every_step()
            step += 1
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise FloatingPointError("training diverged")


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of images classified right, in percent."""
    model.eval()
    right = sum(
        int((model(images).argmax(1) == labels).sum())
        for images, labels in zip(x.split(500), y.split(500), strict=True)
    )
    return 100 * right / len(x)
