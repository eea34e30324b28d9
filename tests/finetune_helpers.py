"""Tiny data and networks for the tests of fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

import dynsurgeon as ds
from dynsurgeon.training.finetune.listener import Listener
from dynsurgeon.training.finetune.results import Epoch, Gain, Score

SHAPE = (3, 8, 8)
CLASSES = ("dark", "light", "left")
QUICK: dict[str, Any] = {"epochs": 2, "batch": 8, "lr": 0.05}
"""Settings of a run of six steps on `blobs()`."""


class InterruptionError(Exception):
    """Stands for whatever ends a process."""


class Stop(Listener):
    """Ends the run after a step."""

    def __init__(self, step: int) -> None:
        self.last = step

    def step(self, done: int, loss: float) -> None:
        if done == self.last:
            raise InterruptionError


class Blobs(Dataset[tuple[Tensor, int]]):
    """Noise with a mark of its class, and a random shift as augmentation if `vary`."""

    def __init__(self, count: int, seed: int, *, vary: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(count) % len(CLASSES)
        self.images = torch.randn(count, *SHAPE, generator=generator)
        self.images[self.labels == 0] -= 0.7
        self.images[self.labels == 1] += 0.7
        self.images[self.labels == 2, :, :, :4] += 1.0
        self.vary = vary

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = torch.randn(SHAPE) * 0.1 if self.vary else 0.0
        return self.images[index] + noise, int(self.labels[index])


def blobs(train: int = 26, val: int = 13, *, vary: bool = True) -> ds.TrainingData:
    """Return data of three classes; an epoch in batches of 8 leaves two samples out."""
    return ds.TrainingData(Blobs(train, 0, vary=vary), Blobs(val, 1), CLASSES)


def static_net(*, norm: bool = True, dropout: float = 0.2, seed: int = 0) -> nn.Module:
    """Return a network of two convolutions, with drop-out, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6) if norm else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.BatchNorm2d(6) if norm else nn.Identity(),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(6, len(CLASSES)),
        ).eval()


def dynamic_net(*, norm: bool = True, dropout: float = 0.2) -> nn.Module:
    """Return the same, converted."""
    net = static_net(norm=norm, dropout=dropout)
    return ds.convert(net, torch.zeros(2, *SHAPE))


def finetune_result(**others: Any) -> ds.FinetuneResult:
    """A result of one epoch, with a gain of 5 points over the static twin."""
    scores = {"dynamic": Score(0.5, 0.75), "static": Score(0.6, 0.7)}
    values: dict[str, Any] = {
        "model": static_net(),
        "best_epoch": {"dynamic": 1, "static": 1},
        "val": scores,
        "before": Score(1.0, 0.5),
        "gain": Gain(0.05, 0.01, 100),
        "history": (Epoch(1, scores, scores, None),),
        "steps": 7,
        "processes": 1,
    }
    return ds.FinetuneResult(**values | others)


def write_images(folder: Path, classes: Sequence[str], count: int, size: int = 8) -> None:
    """Write random colour images, so many for each class, brighter from class to class."""
    generator = torch.Generator().manual_seed(0)
    for i, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            values = torch.randint(0, 64, (size, size, 3), generator=generator) + 60 * i
            Image.fromarray(values.byte().numpy()).save(folder / name / f"{k}.png")


def write_idx(folder: Path, *, train: int = 12, val: int = 6, classes: int = 3) -> None:
    """Write the four idx files of 8x8 images, brighter from class to class."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", train), ("t10k", val)):
        labels = (torch.arange(count) % classes).byte()
        noise = torch.randint(0, 64, (count, 8, 8), generator=generator)
        images = (noise + 60 * labels.view(-1, 1, 1)).byte()
        for kind, tensor in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(tensor)
            (folder / f"{part}-{kind}-ubyte").write_bytes(content)


def idx_bytes(tensor: Tensor) -> bytes:
    """Return a tensor of bytes in the idx format."""
    axes = b"".join(length.to_bytes(4, "big") for length in tensor.shape)
    return b"\0\0\x08" + bytes([tensor.dim()]) + axes + bytes(tensor.flatten().tolist())


def same_tensors(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same state, bit for bit."""
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
