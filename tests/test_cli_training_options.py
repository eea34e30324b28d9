"""The options of ``finetune``: each reaches one setting, and starts where the library starts."""

from __future__ import annotations

import inspect
from dataclasses import Field, fields, replace
from enum import StrEnum
from typing import Any, get_args, get_type_hints

import pytest
from cli_helpers import CommandLine, cli

import dynsurgeon as ds
from dynsurgeon.cli.options.training import TrainingOptions
from dynsurgeon.cli.options.training_data import DataOptions
from dynsurgeon.cli.options.training_machine import MachineOptions, Tracker
from dynsurgeon.cli.work import finetuning
from dynsurgeon.cli.work.finetuning import settings_of
from dynsurgeon.training.finetune.settings import FinetuneSettings

__all__ = ["cli"]

GROUPS = (TrainingOptions, MachineOptions)
NO_SETTING = ("resume",)
"""Options that say what becomes of earlier work, and nothing about the training."""


def other_value(group: type[Any], option: Field[Any]) -> Any:
    """Return a value of an option's type that is not its default."""
    default: Any = option.default
    if default is None:
        kind = get_args(get_type_hints(group)[option.name])[0]
        values = {bool: True, float: 0.5, int: 3, str: "x", list[str]: ["bank"]}
        return (values | {list[Tracker]: [Tracker.CSV]})[kind]
    if isinstance(default, bool):
        return not default
    if isinstance(default, StrEnum):
        return next(value for value in type(default) if value != default)
    if isinstance(default, str):  # a learning rate, or a word
        return "auto"
    return default + 1 if isinstance(default, int) else default / 2 or 0.5


def test_each_option_reaches_one_setting_and_each_setting_has_an_option() -> None:
    groups: list[Any] = [group() for group in GROUPS]
    reached = []
    for place, group in enumerate(GROUPS):
        for option in [field for field in fields(group) if field.name not in NO_SETTING]:
            given = list(groups)
            given[place] = replace(groups[place], **{option.name: other_value(group, option)})
            found = settings_of(*given)
            changed = [
                field.name
                for field in fields(FinetuneSettings)
                if getattr(found, field.name) != getattr(FinetuneSettings(), field.name)
            ]
            assert len(changed) == 1, option.name
            reached += changed
    assert sorted(reached) == sorted(field.name for field in fields(FinetuneSettings))


def test_without_options_the_settings_are_those_of_the_library(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[FinetuneSettings] = []

    def noted(*options: Any) -> Any:
        found.append(finetuning.settings_of(*options))
        raise ds.ConfigError("seen")

    monkeypatch.setattr("dynsurgeon.cli.commands.finetune.settings_of", noted)
    assert "seen" in cli("finetune", "dyn", "--data", "images").error
    for field in fields(FinetuneSettings):
        ours, theirs = getattr(found[0], field.name), getattr(FinetuneSettings(), field.name)
        assert (type(ours), ours) == (type(theirs), theirs), field.name


@pytest.mark.parametrize("name", ["val_share", "augment"])
def test_without_options_the_data_is_read_as_by_the_library(name: str) -> None:
    (default,) = (field.default for field in fields(DataOptions) if field.name == name)
    assert str(default) == str(inspect.signature(ds.load_images).parameters[name].default)


@pytest.mark.parametrize("group", [DataOptions, *GROUPS])
def test_torchrun_hands_every_option_on(group: type[Any]) -> None:
    # Its parser takes an option for its own if it begins as one of its own does.
    from torch.distributed.run import get_args_parser

    options = [f"--{field.name.replace('_', '-')}" for field in fields(group)]
    words = ["-m", "dynsurgeon", "finetune", "dyn", *options]
    assert get_args_parser().parse_args(words).training_script_args == words[2:]
