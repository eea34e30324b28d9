"""From bytes to the network's input: sizes, statistics, augmentation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dynsurgeon.training.finetune.transforms import Augment, Preprocessing, measure


class Noise(Dataset[tuple[Tensor, int]]):
    def __init__(self, count: int, size: int = 6) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (count, 3, size, size), generator=generator).byte()
        self.images[:, 1] //= 2

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], 0


def test_statistics_are_those_of_all_pixels() -> None:
    noise = Noise(50)
    found = measure(noise, (6, 6))
    values = noise.images.double().div(255).transpose(0, 1).flatten(1)
    assert torch.allclose(torch.tensor(found.mean).double(), values.mean(1), atol=1e-6)
    assert torch.allclose(torch.tensor(found.std).double(), values.std(1, correction=0), atol=1e-6)
    batch = torch.stack([found.transform()(image) for image in noise.images])
    assert batch.mean((0, 2, 3)).abs().max() < 1e-5
    assert (batch.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_of_many_images_evenly_spaced_ones_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dynsurgeon.training.finetune.transforms.MEASURED", 10)
    noise = Noise(25)
    few = measure(noise, (6, 6))
    noise.images = noise.images[::3]
    assert few == measure(noise, (6, 6))


def test_an_even_image_has_a_deviation_above_zero() -> None:
    noise = Noise(2)
    noise.images[:] = 7
    assert min(measure(noise, (6, 6)).std) > 0


@pytest.mark.parametrize("augment", [None, "none", "flip", "crop"])
@pytest.mark.parametrize("size", [8, 64])
@pytest.mark.parametrize("shape", [(8, 8), (100, 70)])
def test_the_result_has_the_size_of_the_network(
    augment: Augment | None, size: int, shape: tuple[int, int]
) -> None:
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    made = Preprocessing(size, size, (0.5,), (0.5,)).transform(augment)(image)
    assert made.shape == (3, size, size)
    assert made.dtype == torch.float32
    assert made.abs().max() <= 1


@pytest.mark.parametrize(("augment", "same"), [(None, True), ("none", True), ("crop", False)])
def test_only_augmentation_varies(augment: Augment | None, same: bool) -> None:
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    transform = Preprocessing(8, 8, (0.5,), (0.5,)).transform(augment)
    made = [transform(image) for _ in range(20)]
    assert all(torch.equal(made[0], other) for other in made) is same


def test_an_image_of_the_right_size_keeps_its_pixels() -> None:
    image = torch.randint(0, 256, (1, 8, 8), dtype=torch.uint8)
    made = Preprocessing(8, 8, (0.25,), (0.5,)).transform()(image)
    assert torch.allclose(made, (image / 255 - 0.25) / 0.5)
