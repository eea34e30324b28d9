"""Batches: the same samples in the same order on any number of processes, from any step on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dynsurgeon.errors import ConfigError, DataError
from dynsurgeon.running.randomness import seed_torch
from dynsurgeon.training.finetune.data import Images, TrainingData
from dynsurgeon.training.finetune.seeds import chosen_of, order_of, seed_of

Key = tuple[int, int]
"""An epoch and the position of a sample in its dataset."""


@dataclass(frozen=True)
class Sharing:
    """How a batch is divided.

    Attributes:
        batch: Samples a step, over all processes and parts.
        parts: Parts that a process runs its share in.
        rank: This process.
        world: Number of processes.
    """

    batch: int
    parts: int = 1
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch % (self.parts * self.world):
            raise ConfigError(
                f"a batch of {self.batch} can't be divided among {self.world} processes that run "
                f"it in {self.parts} parts each; choose a multiple of {self.parts * self.world}"
            )

    @property
    def part_size(self) -> int:
        """Samples of one part on one process."""
        return self.batch // (self.parts * self.world)

    def split(self, indices: Sequence[int]) -> list[list[int]]:
        """Return this process's share of a batch, in parts."""
        own = list(indices[self.rank :: self.world])
        size = self.part_size
        return [own[i * size : (i + 1) * size] for i in range(self.parts)]


class Seeded(Dataset[Any]):
    """A dataset whose random transforms depend on seed, epoch and position, and on nothing else.

    What is wrong with a sample is returned, not raised: a worker would wrap it in a traceback.
    """

    def __init__(self, samples: Images, classes: int, seed: int) -> None:
        self.samples, self.classes, self.seed = samples, classes, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, int] | DataError:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            seed_torch(seed_of("sample", self.seed, epoch, index))
            try:
                inputs, label = self.samples[index]
            except DataError as error:
                return error
        if not 0 <= int(label) < self.classes:
            return DataError(
                f"sample {index} has label {label}, but there are {self.classes} classes"
            )
        return inputs, int(label)


def steps_an_epoch(count: int, batch: int) -> int:
    """Return the number of full batches among `count` samples.

    Raises:
        ConfigError: There is not one.
    """
    if count < batch:
        raise ConfigError(
            f"the training set has {count} images, fewer than a batch of {batch}; choose a batch "
            f"of at most {count}"
        )
    return count // batch


def training_batches(
    data: TrainingData, sharing: Sharing, *, seed: int, epoch: int, first: int, workers: int
) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yield this process's share of each step of an epoch, in parts.

    Args:
        data: Whose training set it is.
        sharing: How a batch is divided.
        seed: Seed of the order and of augmentation.
        epoch: The epoch.
        first: Step of the epoch to begin at.
        workers: Processes that read.

    Raises:
        DataError: An image can't be read, or a label is that of no class.
    """
    count: int = len(data.train)  # type: ignore[arg-type]
    order = order_of(seed, epoch, count).tolist()
    steps = range(first, steps_an_epoch(count, sharing.batch))
    keys = [
        [(epoch, index) for index in part]
        for step in steps
        for part in sharing.split(order[step * sharing.batch : (step + 1) * sharing.batch])
    ]
    parts: list[tuple[Tensor, Tensor]] = []
    for part in load_batches(data.train, len(data.classes), keys, seed, workers):
        parts.append(part)
        if len(parts) == sharing.parts:
            yield parts
            parts = []


def validation_batches(
    data: TrainingData, sharing: Sharing, *, workers: int
) -> tuple[int, Iterator[tuple[Tensor, Tensor, Tensor]]]:
    """Give this process's share of the validation set: inputs, labels, and which of them count.

    Every process gets as many batches of the same size as the others, since a sharded network runs
    on all of them at once; what they are filled up with does not count.

    Returns:
        The number of batches, and the batches, which raise as `training_batches` does.
    """
    count: int = len(data.val)  # type: ignore[arg-type]
    shares, size = -(-count // sharing.world), sharing.part_size
    places = [sharing.rank + sharing.world * i for i in range(shares)]
    chunks = [places[i : i + size] for i in range(0, shares, size)]
    keys = [[(0, place % count) for place in chunk] for chunk in chunks]
    loaded = load_batches(data.val, len(data.classes), keys, 0, workers)
    return len(chunks), (
        (inputs, labels, torch.tensor(chunk) < count)
        for chunk, (inputs, labels) in zip(chunks, loaded, strict=True)
    )


def plain_batches(
    data: TrainingData, most: int, size: int, *, seed: int, workers: int
) -> Iterator[Tensor]:
    """Yield inputs of the training set without augmentation, chosen at random.

    Args:
        data: Whose training set it is.
        most: Samples at most.
        size: Samples of a batch.
        seed: Seed of the choice.
        workers: Processes that read.

    Raises:
        DataError: An image can't be read, or a label is that of no class.
    """
    samples = data.unvaried
    chosen = chosen_of(seed, len(samples), most).tolist()  # type: ignore[arg-type]
    keys = [[(0, index) for index in chosen[i : i + size]] for i in range(0, len(chosen), size)]
    for inputs, _ in load_batches(samples, len(data.classes), keys, seed, workers):
        yield inputs


def even_batches(
    data: TrainingData, most: int, least: int, *, seed: int, workers: int
) -> tuple[int, Iterator[Tensor]]:
    """Give `plain_batches` all of the same size, from `least` to less than twice that.

    A last small one would have poor statistics of its own. Some of the samples are left out for it,
    and where there are fewer than `least` in all, they are one batch.

    Returns:
        The number of batches, and the batches.
    """
    count = min(most, len(data.unvaried))  # type: ignore[arg-type]
    parts = max(count // least, 1)
    size = count // parts
    return parts, plain_batches(data, parts * size, size, seed=seed, workers=workers)


def load_batches(
    samples: Images, classes: int, keys: list[list[Key]], seed: int, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and labels of the samples with these keys, a batch each.

    Raises:
        DataError: An image can't be read, or a label is that of no class.
    """
    loader: DataLoader[Any] = DataLoader(
        Seeded(samples, classes, seed),
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator(),  # or each loader would draw from the global one
    )
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        yield batch


def _collate(samples: list[Any]) -> tuple[Tensor, Tensor] | DataError:
    broken = next((sample for sample in samples if isinstance(sample, DataError)), None)
    if broken is not None:
        return broken
    inputs, labels = zip(*samples, strict=True)
    return torch.stack(inputs), torch.tensor(labels)
