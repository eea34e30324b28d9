"""Kernels in blocks of 8 and of 16 channels, on any CPU: the order of every number."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from native_cpu import stored as stored_tensor

from dynsurgeon.graphs.initializers import Array
from dynsurgeon.graphs.native.memory import BLOCKS, Memory, memories, recognise

SHAPES = [(16, 16, 3, 3), (24, 32, 1, 1), (6, 3, 3, 2), (32, 1, 3, 3), (17, 40, 1, 2)]


def named(name: str) -> Memory:
    return next(memory for memory in memories() if memory.name == name)


def numbered(shape: tuple[int, ...]) -> Array:
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def stored(kernel: Array, width: int, *, both: bool) -> Array:
    found: Array = stored_tensor(torch.from_numpy(kernel), width, both=both).numpy()
    return found


@pytest.mark.parametrize("width", BLOCKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("both", [True, False])
def test_every_number_lies_where_the_layout_says(
    shape: tuple[int, ...], width: int, both: bool
) -> None:
    memory = named(f"OIHW{width}i{width}o" if both else f"OIHW{width}o")
    kernel = numbered(shape)
    assert memory.block == width
    assert np.array_equal(memory.arrange(kernel).ravel(), stored(kernel, width, both=both))


@pytest.mark.parametrize("width", BLOCKS)
@pytest.mark.parametrize("both", [True, False])
def test_a_layout_is_recognised_by_its_numbers(width: int, both: bool) -> None:
    kernel = numbered((24, 32, 3, 3))
    memory = recognise(kernel, stored(kernel, width, both=both))
    assert memory is not None
    assert memory.name == (f"OIHW{width}i{width}o" if both else f"OIHW{width}o")


def test_the_plain_layout_and_an_unknown_one() -> None:
    kernel = numbered((16, 16, 3, 3))
    plain = recognise(kernel, kernel)
    assert plain is not None
    assert (plain.name, plain.block) == ("plain", 1)
    assert recognise(kernel, kernel[::-1]) is None
    assert recognise(kernel, kernel[:8]) is None


@pytest.mark.parametrize("width", BLOCKS)
def test_a_bias_is_filled_up_to_whole_blocks(width: int) -> None:
    memory = named(f"OIHW{width}o")
    bias = np.ones((2, width + 3), np.float32)
    filled = memory.vector(bias)
    assert filled.shape == (2, 2 * width)
    assert np.array_equal(filled.sum(1), bias.sum(1))
    assert np.array_equal(memory.vector(np.ones(width)), np.ones(width))
