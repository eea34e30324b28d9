"""From options and a TOML file to a `SurgeryConfig`: options win over it, it over defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import ConfigError

from .budget import BudgetOptions
from .shared import ReLU, SurgeryOptions

Settings = dict[str, Any]


def surgery_config(
    options: SurgeryOptions,
    seed: int | None = None,
    budget: BudgetOptions | None = None,
    measure: Mapping[str, Any] | None = None,
) -> SurgeryConfig:
    """Merge the options over the file over the defaults.

    Args:
        options: What becomes dynamic.
        seed: Seed of the random attention and kernels.
        budget: What it may cost.
        measure: How latency is measured, by the names of `MeasureConfig`; None is not given.

    Raises:
        ConfigError: A setting is unknown or not valid, or options contradict each other.
    """
    _refuse_contradictions(options)
    values = read_settings(options.config) if options.config is not None else {}
    relu = options.relu
    values["conv"] = _merge(values.get("conv"), _conv_options(options), options.no_conv)
    values["activation"] = _merge(
        values.get("activation"), _relu_options(options), relu is ReLU.NONE
    )
    given = {"include": options.include, "exclude": options.exclude, "seed": seed}
    given.update(_budget_options(budget or BudgetOptions()))
    values.update({key: value for key, value in given.items() if value is not None and value != []})
    found = _given(**(measure or {}), threads=budget and budget.latency_threads)
    values["measure"] = {**values.get("measure", {}), **found}
    config = SurgeryConfig.from_dict(values)
    if config.conv is None and config.activation is None:
        raise ConfigError("convolutions and activations are both to be left alone: nothing to do")
    return config


def read_settings(path: Path) -> Settings:
    """Read a TOML file with the keys of `SurgeryConfig`.

    Raises:
        ConfigError: The file can't be read, is no TOML, or holds a setting that is not valid.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' can't be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"'{path}' is no valid TOML: {error}") from error
    for key in ("conv", "activation", "overrides", "measure"):
        if not isinstance(values.get(key, {}), dict) and values[key] is not False:
            raise ConfigError(f"'{path}': {key} must be a table, got {values[key]!r}")
    try:
        SurgeryConfig.from_dict(values)
    except (ConfigError, TypeError, AttributeError) as error:
        raise ConfigError(f"'{path}': {error}") from error
    return values


def _merge(base: Any, options: Settings, off: bool) -> Any:
    if off or (base is False and not options):
        return False
    return {**(base or {}), **options}


def _conv_options(options: SurgeryOptions) -> Settings:
    return _given(
        experts=options.experts,
        start=options.start and options.start.value,
        reduction=options.reduction,
        temperature=options.temperature,
    )


def _relu_options(options: SurgeryOptions) -> Settings:
    return _given(
        kind=options.relu and options.relu.value,
        reduction=options.relu_reduction,
        smooth=options.smooth or None,
    )


def _budget_options(options: BudgetOptions) -> Settings:
    return {
        "preset": options.preset and options.preset.value,
        "latency_budget": options.latency_budget,
        "macs_budget": options.macs_budget,
        "params_budget": options.params_budget,
    }


def _given(**values: Any) -> Settings:
    return {key: value for key, value in values.items() if value is not None}


def _refuse_contradictions(options: SurgeryOptions) -> None:
    if options.no_conv and _conv_options(options):
        named = ", ".join(f"--{name}" for name in _conv_options(options))
        raise ConfigError(f"--no-conv leaves convolutions alone, so {named} would do nothing")
    if options.relu is ReLU.NONE and (options.smooth or options.relu_reduction is not None):
        named = "--smooth" if options.smooth else "--relu-reduction"
        raise ConfigError(f"--relu none leaves activations alone, so {named} would do nothing")
