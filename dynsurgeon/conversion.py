"""Convert: plan, cut, and look at what came of it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import NoSiteError, StorageError, SurgeryError
from dynsurgeon.messages import first_line
from dynsurgeon.planning import plan_in_place
from dynsurgeon.running.copying import copy_of
from dynsurgeon.running.inputs import as_inputs
from dynsurgeon.surgery.accept import check_model, check_numbers, check_static
from dynsurgeon.surgery.cut.apply import apply_recipe
from dynsurgeon.surgery.cut.intact import intact
from dynsurgeon.surgery.cut.outcome import check_outcome, run_static
from dynsurgeon.surgery.decide.planned import Plan


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

    Other threads notice nothing, unless they draw random numbers from the process's generators
    meanwhile, which are seeded here and put back. A second thread that converts, plans, proves,
    loads or exports waits where two can't work at once.

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
        StorageError: The plan was made of another model. Whatever is raised, `model` is as it was,
            bit for bit, with copy=False too.
        UnsupportedModelError: The model is of a kind that can't be converted, or holds NaN.
    """
    check_model(model)
    check_static(model)
    check_numbers(model)
    inputs = as_inputs(example_inputs)
    patient = copy_of(model) if copy else model
    with nullcontext() if copy else intact(patient):
        if isinstance(config, Plan):
            plan = config
        else:
            plan = plan_in_place(patient, inputs, config or SurgeryConfig())
        if not plan.converted:
            raise NoSiteError(_nothing_to_do(plan))
        before = run_static(patient, inputs)
        _apply_plan(patient, plan)
        check_outcome(model if copy else None, patient, inputs, before)
    return patient


def _apply_plan(model: nn.Module, plan: Plan) -> None:
    try:
        apply_recipe(model, plan.recipe)
    except SurgeryError:
        raise
    except Exception as error:  # what a recipe of another model leads to is anybody's guess
        raise StorageError(
            f"the plan does not fit the model ({first_line(error)}): plan the model that it is now"
        ) from error


def _nothing_to_do(plan: Plan) -> str:
    if not plan.sites:
        return "the model has no convolution and no ReLU-like activation that its forward calls"
    reasons: dict[str, int] = {}
    for site in plan.skipped:
        reasons[str(site.reason)] = reasons.get(str(site.reason), 0) + 1
    listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.items())
    return f"none of the model's {len(plan.sites)} sites can be made dynamic: {listed}"
