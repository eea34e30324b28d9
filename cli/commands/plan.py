"""``dynsurgeon plan``: what convert would do, without doing it."""

from __future__ import annotations

import sys
from typing import Annotated

from typer import Option

import dynsurgeon as ds

from ..options.budget import BUDGET, BudgetOptions
from ..options.shared import Json, ModelOptions
from ..options.surgery import SurgeryOptions
from ..options.surgery_config import surgery_config
from ..progress import steps
from ..render import print_json, print_table, say

EXAMPLES = (
    "dynsurgeon plan resnet18 --weights random",
    "dynsurgeon plan mobilenet_v3_small --smooth --include 'features.1*'",
    "dynsurgeon plan resnet50 --latency-budget 1.15 --preset balanced",
    "dynsurgeon plan net.py:build --input-size 1 28 28 --json",
)


def run(
    model: ModelOptions,
    surgery: SurgeryOptions,
    budget: BudgetOptions,
    form: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="Layout of the ONNX file that latency is measured in, as export takes it. "
            "Default: rule.",
            rich_help_panel=BUDGET,
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List every call site of MODEL: what it becomes or why not, and what that costs.

    A latency budget has each site measured: minutes at first, seconds once the times are known.
    """
    config = surgery_config(surgery, model.seed, budget, {"form": form})
    with steps() as step:
        from ..work.loading import load_subject  # imports torch, which takes seconds

        with step.aside(f"building {model.model}"):
            subject = load_subject(model)
        step("planning" if config.latency_budget is None else "planning, and measuring each site")
        plan = ds.plan(subject.model, subject.inputs, config)
    if json:
        print_json({"model": subject.origin, "config": config.to_dict(), **plan.to_dict()})
    elif sys.stdout.isatty():
        header, *rows = plan.rows()
        print_table(header, rows)
        for line in plan.notes:
            say(f"note: {line}")
    else:
        say(str(plan))
