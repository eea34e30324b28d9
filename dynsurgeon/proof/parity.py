"""The proof of a conversion: original against converted model, at every site and at the output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.operators.execution import forced_form, one_by_one
from dynsurgeon.proof.compare import Comparison, compare_models, relative
from dynsurgeon.proof.inputs import fresh_inputs
from dynsurgeon.proof.receipt import TOLERANCES, Receipt, SiteParity
from dynsurgeon.recipe import Recipe, recipe_of
from dynsurgeon.surgery.accept import as_inputs, check_model, check_static
from dynsurgeon.surgery.copying import copy_of
from dynsurgeon.surgery.run import as_double


def check_parity(
    model: nn.Module, dynamic: nn.Module, example_inputs: Any, *, seed: int = 0
) -> Receipt:
    """Compare a static model with its converted form on fresh inputs, in eval and in train mode.

    Both run with the same seed, so drop-out and stochastic depth draw alike. Neither model is
    changed: mode, running statistics and random state are restored.

    Some models blow roundings up: BatchNorm over a handful of values, or a detector that sorts and
    drops boxes. Where the difference is above the tolerance, the comparison is made again in a way
    that tells rounding from a fault, and the receipt's notes say so: with the execution form that
    repeats the static convolution's own roundings, and then in float64.

    Args:
        model: The original.
        dynamic: What `convert` made of it.
        example_inputs: Inputs of the right shapes and ranges; fresh ones are drawn like them.
        seed: Seed of the fresh inputs and of the runs.

    Returns:
        The receipt; look at its ``passed``.

    Raises:
        ConfigError: The model does not run on inputs like these.
        UnsupportedModelError: `dynamic` was not converted by dynsurgeon, or `model` is not static.
    """
    check_model(model)
    check_static(model)
    recipe = recipe_of(dynamic)
    comparison, inputs = _compare_fresh(model, dynamic, recipe, as_inputs(example_inputs), seed)
    notes = list(comparison.notes)
    # The parameters are as they are: kernels W + e_k rounded in float32 stay so in float64, and
    # have the original's tolerance there too.
    tolerance = TOLERANCES.get(comparison.dtype, 1e-5)
    passed = comparison.max_rel <= tolerance
    for description, arbiter in () if passed else _arbiters(model, dynamic, recipe, inputs, seed):
        passed = arbiter.max_rel <= tolerance
        notes.append(
            f"{comparison.max_rel:.2g} in the usual form, {arbiter.max_rel:.2g} {description}"
        )
        if passed:
            break
    return _receipt(comparison, passed, notes)


def _compare_fresh(
    model: nn.Module, dynamic: nn.Module, recipe: Recipe, example: tuple[Any, ...], seed: int
) -> tuple[Comparison, tuple[Any, ...]]:
    inputs = fresh_inputs(example, None, torch.Generator().manual_seed(seed))
    try:
        return compare_models(model, dynamic, recipe, inputs, seed), inputs
    except ConfigError:  # random numbers are no valid boxes, say; the example itself is valid
        comparison = compare_models(model, dynamic, recipe, example, seed)
        comparison.notes.append("compared on the example inputs: the model rejects random ones")
        return comparison, example


def _arbiters(
    model: nn.Module, dynamic: nn.Module, recipe: Recipe, inputs: tuple[Any, ...], seed: int
) -> Iterator[tuple[str, Comparison]]:
    with forced_form(one_by_one):
        again = compare_models(model, dynamic, recipe, inputs, seed)
    yield "in the form that rounds as the static convolution does", again
    if again.dtype is torch.float32:
        one, other = copy_of(model).double(), copy_of(dynamic).double()
        with suppress(ConfigError):  # not every model runs in float64
            yield "in float64", compare_models(one, other, recipe, as_double(inputs), seed)


def _receipt(comparison: Comparison, passed: bool, notes: list[str]) -> Receipt:
    sites = tuple(
        SiteParity(name, mode, difference[0], relative(difference))
        for (name, mode), difference in comparison.sites.items()
    )
    return Receipt(
        passed=passed,
        max_abs=comparison.max_abs,
        max_rel=comparison.max_rel,
        tolerance=TOLERANCES.get(comparison.dtype, 1e-5),
        output_rel={mode: relative(d) for mode, d in comparison.outputs.items()},
        sites=sites,
        notes=tuple(notes),
    )
