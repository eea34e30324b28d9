"""Batches: every sample once, the same ones on any number of processes and from any step on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from finetune_helpers import CLASSES, Blobs, blobs, write_images
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import dynsurgeon as ds
from dynsurgeon.training.finetune.loading import (
    Sharing,
    steps_an_epoch,
    training_batches,
    validation_batches,
)
from dynsurgeon.training.finetune.seeds import order_of, seed_of


class Numbers(Blobs):
    """Samples that are their own position."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index)]), index % 3


def numbers(train: int = 26, val: int = 13) -> ds.TrainingData:
    return ds.TrainingData(Numbers(train, 0), Numbers(val, 0), CLASSES)


def steps(data: ds.TrainingData, sharing: Sharing, epoch: int = 0, first: int = 0) -> list[Tensor]:
    batches = training_batches(data, sharing, seed=7, epoch=epoch, first=first, workers=0)
    return [torch.cat([inputs for inputs, _ in parts]) for parts in batches]


@given(
    world=st.integers(1, 4), parts=st.integers(1, 3), each=st.integers(1, 3), more=st.integers(0, 9)
)
def test_processes_and_parts_divide_the_same_batch(
    world: int, parts: int, each: int, more: int
) -> None:
    batch = world * parts * each
    data = numbers(2 * batch + more)
    whole = steps(data, Sharing(batch))
    shares = [steps(data, Sharing(batch, parts, rank, world)) for rank in range(world)]
    assert len(whole) == (2 * batch + more) // batch
    for step, wanted in enumerate(whole):
        together = torch.cat([share[step] for share in shares]).flatten()
        assert together.sort().values.tolist() == wanted.flatten().sort().values.tolist()
    seen = torch.cat(whole).flatten().tolist()
    assert len(seen) == len(set(seen))


def test_parts_have_the_size_of_a_share() -> None:
    batches = training_batches(numbers(), Sharing(12, 3, 1, 2), seed=0, epoch=0, first=0, workers=0)
    assert [len(inputs) for parts in batches for inputs, _ in parts] == [2] * 6


def test_an_epoch_goes_on_in_the_middle() -> None:
    whole = steps(numbers(), Sharing(4), epoch=2)
    rest = steps(numbers(), Sharing(4), epoch=2, first=4)
    assert torch.equal(torch.cat(whole[4:]), torch.cat(rest))
    assert not torch.equal(torch.cat(whole), torch.cat(steps(numbers(), Sharing(4), epoch=3)))


def test_augmentation_depends_on_the_sample_and_the_epoch_alone() -> None:
    data = blobs(24)
    torch.manual_seed(1)
    one = steps(data, Sharing(8), epoch=1)
    torch.manual_seed(2)
    other = steps(data, Sharing(8, 2, 0, 2), epoch=1)
    order = order_of(7, 1, 24)[:8].tolist()
    assert torch.equal(one[0][order.index(order[0])], other[0][0])
    again = steps(data, Sharing(8), epoch=1)
    assert torch.equal(torch.cat(one), torch.cat(again))


def test_nothing_is_drawn_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    steps(blobs(), Sharing(8))
    list(validation_batches(blobs(), Sharing(8), workers=0)[1])
    assert torch.equal(torch.get_rng_state(), before)


@given(world=st.integers(1, 4), batch=st.integers(1, 3), count=st.integers(1, 20))
def test_every_sample_is_validated_once_in_batches_of_one_size(
    world: int, batch: int, count: int
) -> None:
    data = numbers(val=count)
    sizes, seen = [], []
    for rank in range(world):
        sharing = Sharing(batch * world, 1, rank, world)
        total, batches = validation_batches(data, sharing, workers=0)
        found = list(batches)
        assert len(found) == total
        sizes.append([len(inputs) for inputs, _, _ in found])
        seen += [float(x) for inputs, _, counts in found for x in inputs[counts].flatten()]
    assert sorted(seen) == list(range(count))
    assert all(size == sizes[0] for size in sizes)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ds.ConfigError, match="choose a multiple of 6"):
        Sharing(8, 3, 0, 2)
    with pytest.raises(ds.ConfigError, match="7 images, fewer than a batch of 8"):
        steps_an_epoch(7, 8)
    assert steps_an_epoch(17, 8) == 2


def test_a_label_of_no_class_is_refused() -> None:
    data = ds.TrainingData(Numbers(8, 0), Numbers(8, 0), ("a", "b"))
    with pytest.raises(ds.DataError, match="has label 2, but there are 2 classes"):
        steps(data, Sharing(8))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_one_error(tmp_path: Path, workers: int) -> None:
    write_images(tmp_path, ["a", "b"], 4)
    data = ds.load_images(tmp_path, (3, 8, 8))
    for image in tmp_path.glob("a/*.png"):
        image.write_bytes(b"")
    batches = training_batches(data, Sharing(2), seed=0, epoch=0, first=0, workers=workers)
    with pytest.raises(ds.DataError, match=r"png' can't be read as an image") as caught:
        list(batches)
    assert "Traceback" not in str(caught.value)


def test_workers_change_nothing() -> None:
    here = steps(blobs(), Sharing(8))
    batches = training_batches(blobs(), Sharing(8), seed=7, epoch=0, first=0, workers=2)
    there = [torch.cat([inputs for inputs, _ in parts]) for parts in batches]
    assert torch.equal(torch.cat(here), torch.cat(there))


def test_seeds_are_apart() -> None:
    seeds = {seed_of("a", i, k) for i in range(30) for k in range(30)} | {seed_of("b", 0, 0)}
    assert len(seeds) == 901
    assert all(0 <= seed < 2**63 for seed in seeds)
