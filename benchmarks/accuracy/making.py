"""From a pretrained network and a variant to what the loop trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from variants import Variant

import dynsurgeon as ds


@dataclass
class Made:
    """A network ready to train: its groups, what to do to their optimizer, and after each step."""

    model: nn.Module
    groups: list[dict[str, Any]]
    every_step: Callable[[], None]
    prepare: Callable[[Optimizer], None]
    describe: Callable[[], dict[str, Any]]


def make_variant(
    model: nn.Module, variant: Variant, samples: Sequence[Tensor], lr: float, steps: int, seed: int
) -> Made:
    """Convert `model` as `variant` says, and calibrate it on batches of training images."""
    every_step: Callable[[], None] = lambda: None  # noqa: E731
    start: dict[str, Any] = {}
    if variant.experts or variant.relu or variant.conv or variant.activation:
        model = ds.convert(model, samples[0][:2], surgery(variant, seed))
    if variant.experts:
        if variant.start == "calibrated":
            report = ds.calibrate(model, samples, entropy=variant.entropy, samples=None, seed=seed)
            start = {"start": report.to_dict()["sites"]}
        if variant.heat != 1:
            schedule = ds.TemperatureSchedule(model, start=variant.heat, steps=steps // 2)
            every_step = schedule.step
    groups = ds.parameter_groups(
        model,
        lr,
        weight_decay=variant.weight_decay,
        bank_factor=variant.bank_factor,
        attention_factor=variant.attention_factor,
        relu_factor=variant.relu_factor,
    )

    def describe() -> dict[str, Any]:
        if not variant.experts:
            return {}
        return {**start, "end": ds.attention_report(model, samples).to_dict()["sites"]}

    def prepare(optimizer: Optimizer) -> None:
        if variant.experts and variant.balanced:
            ds.balance_banks(optimizer, model)

    return Made(model, groups, every_step, prepare, describe)


def surgery(variant: Variant, seed: int) -> ds.SurgeryConfig:
    """Return the configuration of `convert` for a variant."""
    conv: Any = variant.conv
    relu: Any = variant.activation
    if variant.experts:
        start = "zero-sum" if variant.start == "zero-sum" else "identical"
        conv = ds.DynamicConvConfig(experts=variant.experts, start=start, temperature=variant.heat)
    if variant.relu:
        relu = ds.DynamicReLUConfig(kind=variant.relu)
    return ds.SurgeryConfig(conv=conv, activation=relu, preset=variant.preset, seed=seed)
