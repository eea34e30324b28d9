"""Every option of a conversion reaches one setting, and what it is without the option is told.

`test_cli_training_options.py` holds the options of ``finetune`` to the same.
"""

from __future__ import annotations

import inspect
from dataclasses import Field, fields
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import pytest

import dynsurgeon as ds
from dynsurgeon.bench.rows import bench
from dynsurgeon.cli.options.bench import TimingOptions
from dynsurgeon.cli.options.budget import BudgetOptions
from dynsurgeon.cli.options.onnx_file import OnnxOptions
from dynsurgeon.cli.options.surgery import SurgeryOptions
from dynsurgeon.cli.options.surgery_config import surgery_config
from dynsurgeon.registry import DEFAULTS, operator_names

GROUPS = (SurgeryOptions, BudgetOptions)
NO_SETTING = ("config",)
"""An option that names a file of settings."""
OPERATORS = {"conv": "conv", "relu": "activation"}
"""Roles by the option that names an operator."""


def options_of(*groups: type[Any]) -> list[tuple[type[Any], str]]:
    named = [(group, option.name) for group in groups for option in fields(group)]
    return [(group, name) for group, name in named if name not in NO_SETTING]


def other_value(group: type[Any], name: str) -> Any:
    """Return a value of an option's type that is not its default."""
    (option,) = (option for option in fields(group) if option.name == name)
    if name in OPERATORS:
        role: Any = OPERATORS[name]
        return next(kind for kind in operator_names(role)[::-1] if kind != DEFAULTS[role])
    if isinstance(option.default, bool):
        return not option.default
    kind = get_args(get_args(get_type_hints(group, include_extras=True)[name])[0])[0]
    if inspect.isclass(kind) and issubclass(kind, StrEnum):
        return list(kind)[-1]
    return {int: 3, float: 1.5, list[str]: ["layer1.*"]}[kind]


def config_with(**values: Any) -> ds.SurgeryConfig:
    groups: list[Any] = []
    for group in GROUPS:
        names = [option.name for option in fields(group)]
        groups.append(group(**{name: value for name, value in values.items() if name in names}))
    config: ds.SurgeryConfig = surgery_config(groups[0], budget=groups[1])
    return config


def changed(config: ds.SurgeryConfig) -> dict[str, Any]:
    """Return the settings that are not their defaults, by name, with these defaults."""
    found: dict[str, Any] = {}
    ours, theirs = config.to_dict(), ds.SurgeryConfig().to_dict()
    for key, default in theirs.items():
        value = ours[key]
        if isinstance(value, dict) and isinstance(default, dict) and value.keys() == default.keys():
            inner = {name: old for name, old in default.items() if value[name] != old}
            found.update({f"{key}.{name}": old for name, old in inner.items()})
        elif value != default:
            found[key] = default
    return found


def help_of(group: type[Any], name: str) -> str:
    (option,) = get_type_hints(group, include_extras=True)[name].__metadata__
    return str(option.help)


def test_without_options_it_is_the_library_s_configuration() -> None:
    assert surgery_config(SurgeryOptions(), budget=BudgetOptions()) == ds.SurgeryConfig()


@pytest.mark.parametrize(("group", "name"), options_of(*GROUPS))
def test_an_option_reaches_one_setting_and_tells_its_default(group: type[Any], name: str) -> None:
    reached = changed(config_with(**{name: other_value(group, name)}))
    assert len(reached) == 1, reached
    (default,) = reached.values()
    if name in OPERATORS:
        default = DEFAULTS[OPERATORS[name]]  # type: ignore[index]
    if getattr(group(), name) is None and isinstance(default, int | float | str):
        shown = f"{default:g}" if isinstance(default, float) else default
        assert help_of(group, name).endswith(f"Default: {shown}.")


def test_no_two_options_reach_the_same_setting() -> None:
    reached = [
        setting
        for group, name in options_of(*GROUPS)
        if name != "no_conv"  # which is --conv none
        for setting in changed(config_with(**{name: other_value(group, name)}))
    ]
    assert len(set(reached)) == len(reached)


def test_the_seed_reaches_the_configuration() -> None:
    assert changed(surgery_config(SurgeryOptions(), 3)) == {"seed": 0}


@pytest.mark.parametrize("option", fields(OnnxOptions), ids=lambda option: option.name)
def test_a_file_is_written_as_by_the_library(option: Field[Any]) -> None:
    assert option.default == inspect.signature(ds.export_onnx).parameters[option.name].default
    assert option.default == getattr(ds.ExportSettings(), option.name)


def test_rows_are_timed_as_by_the_library() -> None:
    ours = {o.name: o.default for o in fields(TimingOptions) if o.default not in (None, False)}
    parameters = inspect.signature(bench).parameters
    assert ours == {name: parameters[name].default for name in ours}
    assert ours
