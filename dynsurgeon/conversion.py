"""Convert: plan, cut, and look at what came of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import NoSiteError, UnsupportedModelError
from dynsurgeon.messages import first_line
from dynsurgeon.operators.execution import forced_form, one_by_one
from dynsurgeon.planning import plan_in_place
from dynsurgeon.running.copying import copy_of, double_of
from dynsurgeon.running.differences import agree
from dynsurgeon.running.inputs import Inputs, as_inputs
from dynsurgeon.running.run import as_double, run_model
from dynsurgeon.surgery.accept import check_model, check_static
from dynsurgeon.surgery.cut.apply import apply_recipe
from dynsurgeon.surgery.cut.restore import restore
from dynsurgeon.surgery.cut.unshare import unshared_activations
from dynsurgeon.surgery.decide.planned import Plan

ROUNDINGS = 2**14
"""Roundings that a converted network may be off by: sums of many, in another order."""


@torch.inference_mode(False)
def convert(
    model: nn.Module,
    example_inputs: Any,
    config: SurgeryConfig | Plan | None = None,
    *,
    copy: bool = True,
) -> nn.Module:
    """Make a static model dynamic, computing exactly what it computed.

    The whole plan is checked before anything is cut, and the result is run on the example inputs.

    Args:
        model: The static model, in any mode and precision.
        example_inputs: What the model runs on: a tensor, a tuple of positional inputs, a dict of
            keyword inputs, or `Inputs`.
        config: What to convert, how and where; or a plan of this model, to be applied as it is.
        copy: Leave `model` as it is and return a converted copy.

    Returns:
        The converted model. Every module that was not replaced keeps its name, class and state_dict
        keys; the model keeps its mode.

    Raises:
        ConfigError: The inputs or the configuration don't fit the model.
        PatternError: A pattern selects no site.
        NoSiteError: Nothing in the model can be made dynamic under this configuration.
        StorageError: The plan was made of another model.
        UnsupportedModelError: The model is of a form that can't be converted as it is.
    """
    check_model(model)
    check_static(model)
    inputs = as_inputs(example_inputs)
    patient = copy_of(model) if copy else model
    with unshared_activations(patient, keep=True):
        if isinstance(config, Plan):
            plan = config
        else:
            plan = plan_in_place(patient, inputs, config or SurgeryConfig())
        if not plan.converted:
            raise NoSiteError(_nothing_to_do(plan))
        before = run_model(patient, inputs, "eval")
        apply_recipe(patient, plan.recipe)
        try:
            _check_outcome(model if copy else None, patient, inputs, before)
        except UnsupportedModelError:
            restore(patient, copy=False)
            raise
    return patient


def _nothing_to_do(plan: Plan) -> str:
    if not plan.sites:
        return "the model has no convolution and no ReLU-like activation that its forward calls"
    reasons: dict[str, int] = {}
    for site in plan.skipped:
        reasons[str(site.reason)] = reasons.get(str(site.reason), 0) + 1
    listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.items())
    return f"none of the model's {len(plan.sites)} sites can be made dynamic: {listed}"


def _check_outcome(
    original: nn.Module | None, dynamic: nn.Module, inputs: Inputs, before: Any
) -> None:
    # This form repeats the static convolution's roundings. A detector that sorts boxes by
    # nearly equal scores would answer any other rounding with other boxes.
    try:
        with forced_form(one_by_one):
            after = run_model(dynamic, inputs, "eval")
    except Exception as error:
        raise UnsupportedModelError(
            f"the converted model does not run: {first_line(error)}; exclude the sites that this "
            "comes from"
        ) from error
    same = agree(before, after, roundings=ROUNDINGS)
    if not same and not _same_in_float64(original, dynamic, inputs):
        raise UnsupportedModelError(
            "the converted model does not compute what the original does (its code reads a module "
            "that was replaced); exclude the sites around it"
        )


def _same_in_float64(original: nn.Module | None, dynamic: nn.Module, inputs: Inputs) -> bool:
    if original is None:
        return False
    doubled = as_double(inputs)
    try:
        one, other = (run_model(double_of(m), doubled, "eval") for m in (original, dynamic))
    except Exception:  # not every model runs in float64
        return False
    return agree(one, other, roundings=ROUNDINGS)
