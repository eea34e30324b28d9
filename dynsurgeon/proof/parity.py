"""The proof of a conversion: original against converted model, at every site and at the output."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynsurgeon.errors import ConfigError
from dynsurgeon.proof.arbiters import Comparing, arbiters
from dynsurgeon.proof.compare import Comparison, compare_models
from dynsurgeon.proof.gradients import GradientParity, check_gradients
from dynsurgeon.proof.receipt import TOLERANCES, Receipt, SiteParity
from dynsurgeon.recipe import recipe_of
from dynsurgeon.running.fresh import fresh_inputs
from dynsurgeon.running.inputs import Inputs, as_inputs
from dynsurgeon.surgery.accept import check_model, check_static


def check_parity(
    model: nn.Module, dynamic: nn.Module, example_inputs: Any, *, seed: int = 0
) -> Receipt:
    """Compare a static model with the converted one on fresh inputs, in eval and in train mode.

    Both run with the same seed, so drop-out and stochastic depth draw alike. Neither model is
    changed: mode, running statistics and random state are restored.

    Where the outputs agree, train mode is also run backward: parameters and inputs that both models
    have must get the same gradients.

    Some models blow roundings up: BatchNorm over a handful of values, or a detector that sorts and
    drops boxes. Where the difference is above the tolerance, the comparison is made again in a way
    that tells rounding from a fault, and the receipt's notes say so: with the algorithm that
    repeats the static convolution's own roundings, and then in float64.

    Args:
        model: The original.
        dynamic: What `convert` made of it.
        example_inputs: Inputs of the right shapes and ranges, in any way that `convert` takes;
            fresh ones are drawn like them.
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

    def compare(one: nn.Module, other: nn.Module, inputs: Inputs) -> Comparison:
        return compare_models(one, other, recipe, inputs, seed)

    comparison, inputs = _compare_fresh(compare, model, dynamic, as_inputs(example_inputs), seed)
    notes = list(comparison.notes)
    # The parameters are as they are: kernels W + e_k rounded in float32 stay so in float64, and
    # have the original's tolerance there too.
    tolerance = TOLERANCES.get(comparison.dtype, 1e-5)
    passed = comparison.max_rel <= tolerance
    in_double = comparison.dtype is torch.float32
    again = arbiters(compare, model, dynamic, inputs, in_double=in_double)
    for description, arbiter in () if passed else again:
        passed = arbiter.max_rel <= tolerance
        notes.append(
            f"{comparison.max_rel:.2g} in the usual form, {arbiter.max_rel:.2g} {description}"
        )
        if passed:
            break
    gradients = GradientParity(None, passed)
    if passed and "train" in comparison.outputs:
        gradients = check_gradients(model, dynamic, recipe, inputs, seed, comparison.dtype)
    return _receipt(comparison, gradients, [*notes, *gradients.notes])


def _compare_fresh(
    compare: Comparing[Comparison],
    model: nn.Module,
    dynamic: nn.Module,
    example: Inputs,
    seed: int,
) -> tuple[Comparison, Inputs]:
    inputs = fresh_inputs(example, None, torch.Generator().manual_seed(seed))
    try:
        return compare(model, dynamic, inputs), inputs
    except ConfigError:  # random numbers are no valid boxes, say; the example itself is valid
        comparison = compare(model, dynamic, example)
        comparison.notes.append("compared on the example inputs: the model rejects random ones")
        return comparison, example


def _receipt(comparison: Comparison, gradients: GradientParity, notes: list[str]) -> Receipt:
    sites = tuple(
        SiteParity(name, mode, difference.gap, difference.relative)
        for (name, mode), difference in comparison.sites.items()
    )
    return Receipt(
        passed=gradients.passed,
        max_abs=comparison.max_abs,
        max_rel=comparison.max_rel,
        tolerance=TOLERANCES.get(comparison.dtype, 1e-5),
        output_rel={mode: d.relative for mode, d in comparison.outputs.items()},
        sites=sites,
        notes=tuple(notes),
        gradient_rel=gradients.rel,
    )
