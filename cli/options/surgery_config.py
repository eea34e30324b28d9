"""From options and a TOML file to a `SurgeryConfig`: options win over it, it over defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from dynsurgeon.config import SurgeryConfig
from dynsurgeon.errors import ConfigError, suggest
from dynsurgeon.registry import DEFAULTS, Role, operator_named, operator_names

from .budget import BudgetOptions
from .surgery import SurgeryOptions

Settings = dict[str, Any]
NONE = "none"


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
    own: dict[Role, Settings] = {
        "conv": _conv_options(options),
        "activation": _relu_options(options),
    }
    for role, given in own.items():
        values[role] = _merge(role, values.get(role), given, _named(role, options))
    others = {"include": options.include, "exclude": options.exclude, "seed": seed}
    others.update(_budget_options(budget or BudgetOptions()))
    values.update({key: value for key, value in others.items() if value not in (None, [])})
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
        allowed = (dict, str) if key in get_args(Role) else dict
        if not isinstance(values.get(key, {}), allowed) and values[key] is not False:
            raise ConfigError(f"'{path}': {key} must be a table, got {values[key]!r}")
    try:
        SurgeryConfig.from_dict(values)
    except (ConfigError, TypeError, AttributeError) as error:
        raise ConfigError(f"'{path}': {error}") from error
    return values


def _merge(role: Role, base: Any, options: Settings, name: str | None) -> Any:
    """Return the table of one role: the file's, with the options over it.

    Settings in the file are dropped where an option names another operator than the file's.
    """
    if name == NONE or (base is False and not options and name is None):
        return False
    table = {"operator": base} if isinstance(base, str) else dict(base or {})
    if name is not None:
        operator = operator_named(role, name)
        before = operator_named(role, table.get("operator", DEFAULTS[role]))
        table = {**operator.instead_of(before, table), "operator": name}
    return {**table, **options}


def _named(role: Role, options: SurgeryOptions) -> str | None:
    """Return the operator that the options name, spelt as it is registered."""
    if role == "conv" and options.no_conv:
        return NONE
    option, given = ("--conv", options.conv) if role == "conv" else ("--relu", options.relu)
    if given is None:
        return None
    known = {name.lower(): name for name in (*operator_names(role), NONE)}
    if given.lower() not in known:
        hint = suggest(given, known.values()) or f"; known: {', '.join(known.values())}"
        raise ConfigError(f"{option}: unknown operator {given!r}{hint}")
    return known[given.lower()]


def _conv_options(options: SurgeryOptions) -> Settings:
    return _given(
        experts=options.experts,
        start=options.start and options.start.value,
        reduction=options.reduction,
        temperature=options.temperature,
    )


def _relu_options(options: SurgeryOptions) -> Settings:
    return _given(
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
    if options.no_conv and options.conv not in (None, NONE):
        raise ConfigError(f"--no-conv and --conv {options.conv} contradict each other")
    if _named("conv", options) == NONE and _conv_options(options):
        off = "--no-conv" if options.no_conv else "--conv none"
        named = ", ".join(f"--{name}" for name in _conv_options(options))
        raise ConfigError(f"{off} leaves convolutions alone, so {named} would do nothing")
    if _named("activation", options) == NONE and _relu_options(options):
        named = "--smooth" if options.smooth else "--relu-reduction"
        raise ConfigError(f"--relu none leaves activations alone, so {named} would do nothing")
