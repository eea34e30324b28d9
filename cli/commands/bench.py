"""``dynsurgeon bench``: what the dynamic network costs in time, measured."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import ConfigError

from ..options.bench import BenchModelOptions, TimingOptions
from ..options.budget import BudgetOptions
from ..options.shared import Callable, Json
from ..options.surgery import SurgeryOptions
from ..options.surgery_config import surgery_config
from ..progress import steps
from ..render import print_json, print_table, say

EXAMPLES = (
    "dynsurgeon bench resnet18-dynamic --threads 2",
    "dynsurgeon bench mobilenet_v2 --weights random --relu none --engine onnxruntime",
    "dynsurgeon bench resnet18 --batch 1 --batch 8 --threads 1 --threads 2 --json",
)
HEADER = ("engine", "batch", "threads", "static", "dynamic", "ratio", "paired", "least", "spread")


def run(
    target: BenchModelOptions,
    surgery: SurgeryOptions,
    budget: BudgetOptions,
    timing: TimingOptions,
    code: Callable = None,
    json: Json = False,
) -> None:
    """Time the static and the dynamic network, interleaved, and print medians and ratios.

    Ratio is that of the medians, dynamic over static; paired the median of the ratios round by
    round; least the ratio of the fastest rounds; spread the interquartile range over the median.
    Times of a directory are kept in its receipt.json, for dynsurgeon report.
    """
    saved = Path(target.model).is_dir()
    _refuse_contradictions(target, (surgery, budget), code, saved=saved)
    config = None if saved else _config(target, surgery, budget, timing)
    with steps() as step:
        from ..work.benching import bench_directory, bench_model

        if config is None:
            document = bench_directory(Path(target.model), code, timing, step)
        else:
            document = bench_model(target, config, timing, step)
    if json:
        print_json(document)
        return
    print_table(HEADER, [_row(row) for row in document["rows"]])
    for warning in document["warnings"]:
        say(f"warning: {warning}")


def _config(
    target: BenchModelOptions,
    surgery: SurgeryOptions,
    budget: BudgetOptions,
    timing: TimingOptions,
) -> SurgeryConfig:
    measure = {"form": timing.form, "this_cpu": timing.this_cpu or None}
    if timing.this_cpu and timing.form is None:
        measure["form"] = "auto"
    return surgery_config(surgery, target.seed, budget, measure)


def _refuse_contradictions(
    target: BenchModelOptions, groups: tuple[Any, ...], code: str | None, *, saved: bool
) -> None:
    if not saved and code is not None:
        raise ConfigError("--model names the code of a directory, and none is given")
    given = [name for group in (target, *groups) for name in _given(group) if saved]
    if given:
        raise ConfigError(
            f"'{target.model}' is a directory, whose network is what it is, so {given[0]} would "
            "do nothing"
        )


def _given(options: Any) -> list[str]:
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    given = [name for name, value in values.items() if value not in (None, [], False)]
    return [f"--{name.replace('_', '-')}" for name in given if name != "model"]


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    place = (row["engine"], str(row["batch"]), str(row["threads"]))
    if row["problem"] is not None:
        return (*place, f"failed: {row['problem']}", "-", "-", "-", "-", "-")
    static, dynamic = row["static"], row["dynamic"]
    return (
        *place,
        f"{static['median_ms']:.2f} ms",
        f"{dynamic['median_ms']:.2f} ms",
        f"{row['ratio']:.3f}",
        f"{row['paired_ratio']:.3f}",
        f"{row['least_ratio']:.3f}",
        f"{max(static['spread'], dynamic['spread']):.1%}",
    )
