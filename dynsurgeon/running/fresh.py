"""Fresh inputs that look like an example: for every proof that must not rest on one input.

Random numbers are drawn on the CPU and then moved, so that a seed means the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dynsurgeon.compat import tree_leaves, tree_map
from dynsurgeon.running.inputs import Inputs

Shape = Sequence[int]


def fresh_inputs(
    example_inputs: Any,
    batch: int | None,
    generator: torch.Generator,
    *,
    resize: Callable[[Tensor], Shape] | None = None,
) -> Inputs:
    """Draw inputs like `example_inputs`, every sample different from the others.

    A floating tensor is drawn with the example's mean and standard deviation, clamped to its range;
    one whose elements are all equal, with deviation 1 around them. Single numbers (no axis),
    integer and boolean tensors and everything else keep the example's values.

    Args:
        example_inputs: In any form that `Inputs.of` takes, with any nesting.
        batch: Samples to draw, or None for as many as the example has. Changes the first axis of
            those tensors that have it in common with the first tensor.
        generator: Source of the random numbers, on the CPU.
        resize: Gives the shape to draw a floating tensor in, instead of its own.

    Returns:
        The inputs, on the devices and in the dtypes of the example.
    """
    inputs = Inputs.of(example_inputs) if batch is None else tiled(example_inputs, batch)

    def draw(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point() or leaf.dim() == 0:
            return leaf
        return _draw_like(leaf, leaf.shape if resize is None else resize(leaf), generator)

    result: Inputs = tree_map(draw, inputs)
    return result


def tiled(example_inputs: Any, batch: int) -> Inputs:
    """Cut or repeat the samples of `example_inputs` to `batch` of them."""
    inputs = Inputs.of(example_inputs)
    size = first_axis(inputs)
    return take_samples(inputs, torch.arange(batch) % size) if size else inputs


def take_samples(inputs: Inputs, index: Tensor) -> Inputs:
    """Select samples, by position, from every tensor that has the batch as its first axis."""
    size = first_axis(inputs)

    def take(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or leaf.dim() == 0 or leaf.shape[0] != size:
            return leaf
        return leaf.index_select(0, index.to(leaf.device))

    result: Inputs = tree_map(take, inputs)
    return result


def first_axis(inputs: Any) -> int:
    """Length of the first axis of the first tensor that has one; 0 if there is none."""
    for leaf in tree_leaves(inputs):
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            return leaf.shape[0]
    return 0


def _draw_like(example: Tensor, shape: Shape, generator: torch.Generator) -> Tensor:
    values = example.detach().double().cpu()
    noise = torch.randn(tuple(shape), generator=generator, dtype=torch.float64)
    if values.numel() == 0:
        return noise.to(example)
    low, high = values.min(), values.max()
    if not low < high:
        return (noise + low).to(example)
    drawn = values.mean() + noise * values.std(correction=0)
    return drawn.clamp(low, high).to(example)
