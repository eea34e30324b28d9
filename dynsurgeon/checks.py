"""Checks of single settings; each error names the setting and the value that was given."""

from __future__ import annotations

import math

from dynsurgeon.errors import ConfigError


def require_count(name: str, value: object, least: int = 1) -> None:
    """Raise `ConfigError` unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")


def require_number(name: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")


def require_positive(name: str, value: float) -> None:
    """Raise `ConfigError` unless `value` is a finite number above 0."""
    require_number(name, value)
    if value <= 0:
        raise ConfigError(f"{name} must be a number above 0, got {value!r}")


def require_not_negative(name: str, value: float) -> None:
    """Raise `ConfigError` unless `value` is a finite number of at least 0."""
    require_number(name, value)
    if value < 0:
        raise ConfigError(f"{name} must not be below 0, got {value!r}")


def require_flag(name: str, value: object) -> None:
    """Raise `ConfigError` unless `value` is a truth value."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, got {value!r}")


def require_patterns(name: str, value: object) -> tuple[str, ...]:
    """Return the patterns as a tuple.

    Raises:
        ConfigError: `value` is no tuple or list of strings.
    """
    if isinstance(value, str):
        raise ConfigError(f"{name} must be a tuple of patterns, got the string {value!r}")
    if not isinstance(value, tuple | list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{name} must be a tuple of patterns, got {value!r}")
    return tuple(value)


def require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
