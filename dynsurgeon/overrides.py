"""Settings of single sites: what an override says, of which operator, and to whom.

    {"layer4.*": {"conv.experts": 8}, "*.relu": {"activation": "C"}}

A key is ``conv.`` or ``activation.`` and a setting, or one of the two words alone for the name of
an operator. A setting without a word before it is meant for every operator that has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar, get_args

from dynsurgeon.errors import ConfigError, suggest
from dynsurgeon.registry import (
    OPERATORS,
    Operator,
    Role,
    operator_named,
    operator_of,
    operators_for,
)

Settings = Mapping[str, Any]
S = TypeVar("S")
ROLES: tuple[Role, ...] = get_args(Role)


def apply_overrides(config: S, values: Settings) -> S:
    """Return an operator's settings with those of `values` that are meant for them.

    Raises:
        ConfigError: A value is not valid.
    """
    operator = operator_of(config)
    named = values.get(operator.role)
    found: Any = config if named is None else _switched(config, operator, named)
    own = {
        name: value
        for key, value in values.items()
        for name in _names(found)
        if key in (name, f"{operator.role}.{name}")
    }
    changed: S = replace(found, **own)
    return changed


def effective_keys(config: object, values: Settings) -> Iterable[str]:
    """Yield the keys of `values` that say something to the operator of these settings."""
    role = operator_of(config).role
    known = {role, *_names(apply_overrides(config, values))}
    return (key for key in values if key.removeprefix(f"{role}.") in known)


def check_override(pattern: str, values: object) -> None:
    """Check what one pattern is mapped to, as far as that can be done without a model.

    Raises:
        ConfigError: It is no table, a key is unknown, or a value is not valid.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"override {pattern!r} must be a table of settings, got {values!r}")
    known = {*ROLES, *(key for operator in OPERATORS for key in _keys(operator))}
    for key in values:
        if key not in known:
            raise ConfigError(f"override {pattern!r}: unknown setting {key!r}{suggest(key, known)}")
    for role in ROLES:
        named = [operator_named(role, values[role])] if role in values else operators_for(role)
        for operator in named:
            apply_overrides(operator.default(), {k: v for k, v in values.items() if k not in ROLES})


def _switched(config: object, operator: Operator, name: str) -> Any:
    other = operator_named(operator.role, name)
    values = {key: getattr(config, key) for key in _names(config)}
    return other.settings(**other.instead_of(operator, values))


def _keys(operator: Operator) -> Iterable[str]:
    for name in _names(operator.default()):
        yield from (name, f"{operator.role}.{name}")


def _names(config: Any) -> list[str]:
    return [field.name for field in fields(config)]
