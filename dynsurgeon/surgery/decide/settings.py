"""The settings of one site: those of the configuration, with its overrides applied."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dynsurgeon.config import SurgeryConfig, apply_overrides, operator_settings
from dynsurgeon.errors import ConfigError
from dynsurgeon.operators.contract import DynamicLayer
from dynsurgeon.overrides import effective_keys
from dynsurgeon.registry import DEFAULTS, operator_of
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.select import matches


def site_settings(candidate: Candidate, config: SurgeryConfig) -> Any:
    """Return the settings of the operator that a candidate would get.

    Where the configuration leaves sites of its role alone, they are the default ones.

    Raises:
        ConfigError: Two overrides together are not valid.
    """
    base = getattr(config, candidate.role)
    settings = operator_settings(candidate.role, DEFAULTS[candidate.role] if base is None else base)
    for pattern, values in config.overrides.items():
        if matches(pattern, candidate):
            settings = apply_overrides(settings, values)
    return settings


def site_layer(candidate: Candidate, settings: Any) -> type[DynamicLayer] | None:
    """Return the dynamic layer that a candidate would become, or None if there is none for it."""
    return operator_of(settings).layer_for(candidate.static)


def check_overrides(config: SurgeryConfig, candidates: Iterable[Candidate]) -> None:
    """Raise `ConfigError` for a setting in an override that no site which may convert takes."""
    open_ones = [c for c in candidates if c.reason is None]
    for pattern, values in config.overrides.items():
        meant = [c for c in open_ones if matches(pattern, c)]
        taken = {k for c in meant for k in effective_keys(site_settings(c, config), values)}
        for key in values:
            if key not in taken:
                raise ConfigError(
                    f"override {pattern!r}: {key!r} has no effect: none of the {len(meant)} sites "
                    "there that can convert takes it"
                )
