"""Run a model in eval or train mode, and restore all that it holds and the random state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from dynsurgeon.compat import tree_leaves, tree_map
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.randomness import forked_random, seed_random
from dynsurgeon.running.snapshot import Snapshot

Mode = Literal["eval", "train"]
MODES: tuple[Mode, ...] = ("eval", "train")

Tree = TypeVar("Tree")
"""Nested inputs, returned in the structure that they came in."""


@contextmanager
def preserved(model: nn.Module, mode: Mode, seed: int = 0) -> Iterator[None]:
    """Put `model` in `mode` with a fixed seed; on exit all is as it was.

    That is everything a `Snapshot` holds, mode flags and random state.
    """
    flags = {module: module.training for module in model.modules()}
    snapshot = Snapshot(model)  # before `train`, which some models write weights in
    devices = {t.device for t in (*model.parameters(), *model.buffers())}
    try:
        with ExitStack() as stack:
            stack.enter_context(forked_random(d.index for d in devices if d.type == "cuda"))
            for kind in {"cpu", *(d.type for d in devices)} - {"meta"}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            stack.enter_context(torch.no_grad())
            seed_random(seed)
            model.train(mode == "train")
            yield
    finally:
        snapshot.restore()
        for module, flag in flags.items():
            module.training = flag


def run_model(model: nn.Module, inputs: Any, mode: Mode, seed: int = 0) -> Any:
    """Run `model` on copies of `inputs` without gradients and return its outputs."""
    with preserved(model, mode, seed):
        return Inputs.of(copied(inputs)).call(model)


def copied(inputs: Tree) -> Tree:
    """Clone every tensor, so that a model that writes into its input can't change the next run."""
    result: Tree = tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, inputs)
    return result


def as_double(inputs: Tree) -> Tree:
    """Return the inputs in float64; integers stay."""
    result: Tree = tree_map(
        lambda t: t.double() if isinstance(t, Tensor) and t.is_floating_point() else t, inputs
    )
    return result


def widened(inputs: Tree) -> Tree:
    """Repeat every tensor along its first axis: BatchNorm can't train on a batch of one."""
    result: Tree = tree_map(
        lambda t: torch.cat([t, t]) if isinstance(t, Tensor) and t.dim() else t, inputs
    )
    return result


def batch_size(inputs: Inputs) -> int:
    """Samples in `inputs`: the length of the first tensor that has one, or of a list of images."""
    first = inputs.values()[0]
    if isinstance(first, (list, tuple)):
        return max(len(first), 1)
    lengths = (t.shape[0] for t in tree_leaves(inputs) if isinstance(t, Tensor) and t.dim())
    return max(next(lengths, 1), 1)


def tensors_of(outputs: Any) -> list[Tensor]:
    """Return the tensors in nested outputs, in order; objects are searched through their fields."""
    leaves: list[Tensor] = []
    for leaf in tree_leaves(outputs):
        if isinstance(leaf, Tensor):
            leaves.append(leaf)
        elif hasattr(leaf, "__dict__") and not isinstance(leaf, nn.Module):
            leaves.extend(t for t in tree_leaves(vars(leaf)) if isinstance(t, Tensor))
    return leaves
