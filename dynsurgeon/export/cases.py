"""The inputs that a file is verified on: batches, a permuted batch, another size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dynsurgeon.export.signature import spatial_axes
from dynsurgeon.export.target import Target
from dynsurgeon.running.fresh import fresh_inputs, take_samples
from dynsurgeon.running.inputs import Inputs

FREE_BATCHES = (1, 2, 3, 5)
PERMUTED_BATCH = 3
SIZED_BATCH = 2
GROWTH = (32, 64)
"""How much higher and wider the second size is: most networks need multiples of 32."""


@dataclass(frozen=True)
class Case:
    """One set of inputs.

    Attributes:
        name: What is special about it.
        batch: Samples in it.
        inputs: The inputs, every sample different.
    """

    name: str
    batch: int
    inputs: Inputs


def make_cases(
    example_inputs: Inputs, target: Target, generator: torch.Generator
) -> tuple[Case, ...]:
    """Return what a file for `target` is verified on."""
    batches = FREE_BATCHES if target.batch is None else (target.batch,)
    cases = [
        Case(f"batch {batch}", batch, fresh_inputs(example_inputs, batch, generator))
        for batch in batches
    ]
    cases += [_permuted(case) for case in cases if case.batch in _permuted_batches(batches)]
    if target.dynamic_size:
        batch = SIZED_BATCH if target.batch is None else target.batch
        larger = fresh_inputs(example_inputs, batch, generator, resize=enlarged)
        cases.append(Case(f"batch {batch}, larger", batch, larger))
    return tuple(cases)


def enlarged(tensor: Tensor) -> Sequence[int]:
    """Return the shape of a tensor with more height and width."""
    shape = list(tensor.shape)
    for axis, growth in zip(spatial_axes(tensor), GROWTH, strict=False):
        shape[axis] += growth
    return shape


def _permuted_batches(batches: Sequence[int]) -> Sequence[int]:
    return [PERMUTED_BATCH] if PERMUTED_BATCH in batches else [b for b in batches if b > 1]


def _permuted(case: Case) -> Case:
    order = torch.arange(case.batch).roll(1)
    return Case(f"{case.name}, permuted", case.batch, take_samples(case.inputs, order))
