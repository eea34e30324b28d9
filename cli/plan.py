"""``dynsurgeon plan``: what convert would do, without doing it."""

from __future__ import annotations

import sys

import dynsurgeon as ds

from .options import Json, ModelOptions, SurgeryOptions
from .render import print_json, print_table, say, steps
from .settings import surgery_config

HEADER = ("site", "operation", "input", "becomes", "params", "MACs")
EXAMPLES = (
    "dynsurgeon plan resnet18 --weights random",
    "dynsurgeon plan mobilenet_v3_small --smooth --include 'features.1*'",
    "dynsurgeon plan net.py:build --input-size 1 28 28 --json",
)


def run(model: ModelOptions, surgery: SurgeryOptions, json: Json = False) -> None:
    """List every call site of MODEL: what it becomes or why not, and what that costs."""
    config = surgery_config(surgery, model.seed)
    with steps() as step:
        from .loading import load_subject  # imports torch, which takes seconds

        step(f"building {model.model}")
        subject = load_subject(model)
        step("planning")
        plan = ds.plan(subject.model, subject.inputs, config)
    if json:
        print_json({"model": subject.origin, "config": config.to_dict(), **plan.to_dict()})
    elif sys.stdout.isatty():
        print_table(HEADER, [*map(_row, plan.sites), _totals(plan)])
        for line in plan.notes:
            say(f"note: {line}")
    else:
        say(str(plan))


def _row(site: ds.Site) -> tuple[str, ...]:
    return (
        site.name,
        site.operation,
        "-" if site.input_shape is None else "x".join(map(str, site.input_shape)),
        site.operator or f"static: {site.reason}",
        _change(site.params_before, site.params_after),
        _change(site.macs_before, site.macs_after),
    )


def _totals(plan: ds.Plan) -> tuple[str, ...]:
    return (
        "total",
        "",
        "",
        f"{len(plan.converted)} of {len(plan.sites)} sites",
        _change(plan.params_before, plan.params_after),
        _change(plan.macs_before, plan.macs_after),
    )


def _change(before: int, after: int) -> str:
    from dynsurgeon.surgery.plan_table import human

    return human(before) if before == after else f"{human(before)} -> {human(after)}"
