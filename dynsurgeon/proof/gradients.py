"""Compare the gradients of what a static and a dynamic model share, in train mode.

At the start both compute one function, so every parameter that was not replaced, and every input,
has the same gradient in both. So has a kernel that a layer keeps, and a replaced kernel W: since
``sum_k pi_k = 1`` at kernels
``W_k = W + e_k``, the gradients of the W_k sum up to that of W.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dynsurgeon.compat import tree_leaves
from dynsurgeon.errors import ConfigError
from dynsurgeon.messages import first_line
from dynsurgeon.operators.contract import DynamicLayer
from dynsurgeon.proof.arbiters import arbiters
from dynsurgeon.recipe import Recipe
from dynsurgeon.running.differences import SAME, Difference, difference
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.running.run import copied, preserved, tensors_of, widened
from dynsurgeon.surgery.owners.functional import OPERANDS

GRADIENT_TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Largest difference that still counts as the same gradient, by the outputs' precision.

A backward through BatchNorm blows roundings up much more than a forward does, and no fault is small
here: a path that is cut, doubled or scaled shows as a good part of a gradient."""

FLOOR = 1e-3
"""Share of the largest gradient below which one is compared with that instead of with itself.

The bias before a BatchNorm has no gradient but roundings."""

Gradients = dict[str, Tensor | None]


@dataclass(frozen=True)
class GradientParity:
    """What a comparison of gradients found.

    Attributes:
        rel: Largest difference relative to that gradient's largest number; None if none was made.
        passed: Whether nothing speaks against the dynamic model.
        notes: What could not be compared, and why; or what failed.
    """

    rel: float | None
    passed: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Worst:
    rel: float
    where: str
    failure: str | None = None


def check_gradients(
    model: nn.Module,
    dynamic: nn.Module,
    recipe: Recipe,
    inputs: Inputs,
    seed: int,
    dtype: torch.dtype,
) -> GradientParity:
    """Differentiate a random linear function of the outputs in both models, and compare.

    Neither model is changed, ``.grad`` included. What differs by more than the tolerance is
    compared again by the `arbiters`.

    Args:
        model: The original.
        dynamic: What it became.
        recipe: What it was made by.
        inputs: Inputs that both run on in train mode, as they are or repeated along the batch.
        seed: Seed of the runs and of the function.
        dtype: The outputs' precision.
    """
    dtype = _coarsest(model, dtype)
    tolerance = GRADIENT_TOLERANCES.get(dtype, GRADIENT_TOLERANCES[torch.float32])

    def compare(one: nn.Module, other: nn.Module, inputs: Inputs) -> _Worst:
        return _compare(one, other, recipe, inputs, seed)

    try:
        worst = compare(model, dynamic, inputs)
    except ConfigError as error:
        return GradientParity(None, True, (f"gradients were not compared: {error}",))
    if worst.failure is not None:
        return GradientParity(None, False, (worst.failure,))
    passed, notes = worst.rel <= tolerance, []
    in_double = dtype is not torch.float64
    again = arbiters(compare, model, dynamic, inputs, in_double=in_double)
    for description, arbiter in () if passed else again:
        passed = arbiter.failure is None and arbiter.rel <= tolerance
        found = f"{worst.rel:.2g} in the usual form, {arbiter.rel:.2g} {description}"
        notes.append(f"the gradient of {worst.where}: {found}")
        if passed:
            break
    return GradientParity(worst.rel, passed, tuple(notes))


def _coarsest(model: nn.Module, dtype: torch.dtype) -> torch.dtype:
    """Return the precision of what rounds most: outputs in double may rest on single weights."""
    kinds = {dtype, *(p.dtype for p in model.parameters() if p.is_floating_point())}
    return max(kinds, key=lambda kind: torch.finfo(kind).eps)


def _compare(
    model: nn.Module, dynamic: nn.Module, recipe: Recipe, inputs: Inputs, seed: int
) -> _Worst:
    way, ours = _first_way(model, inputs, seed)
    try:
        theirs = _gradients(dynamic, *way, seed)
    except Exception as error:
        failure = "the backward of the dynamic model fails in train mode, the original's does not"
        return _Worst(float("inf"), "", f"{failure}: {first_line(error)}")
    pairs = list(_pairs(ours, theirs, dynamic, recipe))
    largest = max((_difference(one, one).scale for _, one, _ in pairs), default=0.0)
    worst = _Worst(0.0, "")
    for name, one, other in pairs:
        gap, scale = _difference(one, other)
        found = _Worst(Difference(gap, max(scale, FLOOR * largest)).relative, name)
        worst = max(worst, found, key=lambda each: each.rel)
    return worst


def _first_way(
    model: nn.Module, inputs: Inputs, seed: int
) -> tuple[tuple[Inputs, bool], Gradients]:
    """Return the first inputs on which the original has gradients, with or without their own."""
    errors = []
    for by_inputs in (True, False):  # some models take an input to NumPy
        for attempt in (inputs, widened(inputs)):  # BatchNorm can't train on a batch of one
            try:
                return (attempt, by_inputs), _gradients(model, attempt, by_inputs, seed)
            except Exception as error:
                errors.append(error)
    raise ConfigError(first_line(errors[0])) from errors[0]


@torch.inference_mode(False)
def _gradients(model: nn.Module, inputs: Inputs, by_inputs: bool, seed: int) -> Gradients:
    given = copied(inputs)
    wanted = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for i, leaf in enumerate(tree_leaves(given) if by_inputs else ()):
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            wanted[f"input {i}"] = leaf.requires_grad_()  # type: ignore[assignment]
    with preserved(model, "train", seed), torch.enable_grad():
        outputs = tensors_of(copied(given).call(model))  # no leaf: it may write into its input
        generator = torch.Generator().manual_seed(seed)
        weights = [torch.randn(y.shape, generator=generator, dtype=torch.float64) for y in outputs]
        live = [i for i, y in enumerate(outputs) if y.requires_grad and y.is_floating_point()]
        if not live or not wanted:
            raise ConfigError("no output of floating-point numbers has a gradient")
        found = torch.autograd.grad(
            [outputs[i] for i in live],
            list(wanted.values()),
            [weights[i].to(outputs[i]) for i in live],
            allow_unused=True,
        )
    return dict(zip(wanted, found, strict=True))


def _pairs(
    ours: Gradients, theirs: Gradients, dynamic: nn.Module, recipe: Recipe
) -> Iterator[tuple[str, Tensor | None, Tensor | None]]:
    """Yield the name of each tensor that has a gradient in both models, and the two."""
    banks = dict(_held(dynamic, recipe))
    replaced = tuple(f"{site.name}." for site in recipe.sites)
    for name, one in ours.items():
        held, is_bank = banks.get(name, ("", False))
        if held in theirs:
            found = theirs[held]
            yield name, one, found.sum(0) if is_bank and found is not None else found
        elif name in theirs and not name.startswith(replaced):
            yield name, one, theirs[name]


def _held(dynamic: nn.Module, recipe: Recipe) -> Iterator[tuple[str, tuple[str, bool]]]:
    """Yield the name of each static parameter that a layer holds on: its name there, if a bank."""
    for site in recipe.sites:
        layer = dynamic.get_submodule(site.name)
        if not isinstance(layer, DynamicLayer):
            continue
        owner = site.name if site.place == "module" else site.name.rpartition(".")[0]
        operands = dict(zip(("weight", "bias"), vars(layer).get(OPERANDS, ()), strict=False))
        for name in layer.held():
            static = f"{owner}.{operands.get(name, name)}".lstrip(".")
            yield static, (f"{site.name}.{name}", name in layer.banks())


def _difference(one: Tensor | None, other: Tensor | None) -> Difference:
    if one is None or other is None:  # no gradient is a gradient of zeros
        there = one if other is None else other
        if there is None:
            return SAME
        zeros = torch.zeros_like(there)
        return difference(zeros if one is None else one, zeros if other is None else other)
    return difference(one, other)
