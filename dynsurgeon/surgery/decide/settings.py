"""The settings of one site: those of the configuration, with its overrides applied."""

from __future__ import annotations

from dataclasses import replace

from dynsurgeon.config import (
    DynamicConvConfig,
    DynamicReLUConfig,
    SurgeryConfig,
    apply_overrides,
)
from dynsurgeon.surgery.sites.candidates import Candidate
from dynsurgeon.surgery.sites.select import matches


def conv_settings(
    candidate: Candidate, config: SurgeryConfig, experts: int | None = None
) -> DynamicConvConfig:
    """Return the settings of one convolution, with another number of kernels if one is given."""
    settings = config.conv or DynamicConvConfig()
    for pattern, values in config.overrides.items():
        if matches(pattern, candidate):
            settings = apply_overrides(settings, values)
    return settings if experts is None else replace(settings, experts=experts)


def activation_settings(candidate: Candidate, config: SurgeryConfig) -> DynamicReLUConfig:
    """Return the settings of one activation."""
    settings = config.activation or DynamicReLUConfig()
    for pattern, values in config.overrides.items():
        if matches(pattern, candidate):
            settings = apply_overrides(settings, values)
    return settings
