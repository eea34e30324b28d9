"""The settings of the built-in operators: frozen dataclasses, checked when they are built."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args

from dynsurgeon.checks import (
    require_choice,
    require_count,
    require_flag,
    require_not_negative,
    require_number,
    require_positive,
)
from dynsurgeon.errors import ConfigError

Start = Literal["identical", "zero-sum"]
ReLUKind = Literal["A", "B", "C"]
CondConvMixture = Literal["around", "sum"]


@dataclass(frozen=True)
class DynamicConvConfig:
    """How a convolution becomes dynamic (arXiv 1912.03458).

    Attributes:
        experts: Number of kernels K.
        reduction: Width of the attention's hidden layer is ``in_channels // reduction``.
        temperature: Softmax temperature tau at the start; the paper anneals 30 -> 1.
        start: ``"identical"`` kernels under a random attention, or ``"zero-sum"`` kernels
            W + e_k (sum of e_k = 0) under a uniform attention. Both start at the original function.
        spread: Standard deviation of e_k relative to that of W, for the zero-sum start.
    """

    experts: int = 4
    reduction: int = 4
    temperature: float = 30.0
    start: Start = "identical"
    spread: float = 0.3

    def __post_init__(self) -> None:
        require_count("experts", self.experts)
        require_count("reduction", self.reduction)
        require_positive("temperature", self.temperature)
        require_choice("start", self.start, get_args(Start))
        require_number("spread", self.spread)
        if not 0 < self.spread <= 3:  # at 0, zero-sum kernels would never move apart
            raise ConfigError(f"spread must be above 0 and at most 3, got {self.spread!r}")


@dataclass(frozen=True)
class DynamicReLUConfig:
    """How an activation becomes a DY-ReLU (arXiv 2003.10027).

    Attributes:
        kind: ``"A"`` shares the coefficients over space and channels, ``"B"`` over space,
            ``"C"`` adds a spatial attention to B.
        pieces: Number of linear pieces K, at least 2 (one line is no ReLU).
        reduction: Width of the hidden layer is ``channels // reduction``.
        lambda_a: Reach of the slopes around their start; 0 holds them fixed.
        lambda_b: Reach of the offsets around their start; 0 holds them fixed.
        temperature: Temperature of the spatial softmax of kind C; the paper uses 10 early on.
        smooth: Also convert Hardswish, SiLU and GELU, as act(x) + DY-ReLU(x) - ReLU(x). (So is a
            PReLU with slopes above 1, which is no maximum of lines either, without being asked.)
    """

    kind: ReLUKind = "B"
    pieces: int = 2
    reduction: int = 8
    lambda_a: float = 1.0
    lambda_b: float = 0.5
    temperature: float = 10.0
    smooth: bool = False

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, get_args(ReLUKind))
        _check_lines(self)
        require_positive("temperature", self.temperature)


@dataclass(frozen=True)
class ScaleConfig:
    """How a convolution gets scales: ODConv of one kernel, without space (arXiv 2209.07947).

    Attributes:
        reduction: Width of the hidden layer is ``in_channels // reduction``.
        filters: Scale the output channels.
        channels: Scale the input channels.
    """

    reduction: int = 16
    filters: bool = True
    channels: bool = True

    def __post_init__(self) -> None:
        require_count("reduction", self.reduction)
        require_flag("filters", self.filters)
        require_flag("channels", self.channels)
        if not (self.filters or self.channels):
            raise ConfigError("filters and channels are both off: nothing would be scaled")


@dataclass(frozen=True)
class ODConvConfig:
    """How a convolution becomes omni-dimensional (arXiv 2209.07947).

    Attributes:
        experts: Number of kernels K.
        reduction: Width of each hidden layer is ``in_channels // reduction``.
        temperature: Softmax temperature of the attention over kernels at the start.
        filters: Scale the output channels.
        channels: Scale the input channels.
        space: Scale the places of the kernel.
    """

    experts: int = 1
    reduction: int = 16
    temperature: float = 30.0
    filters: bool = True
    channels: bool = True
    space: bool = True

    def __post_init__(self) -> None:
        require_count("experts", self.experts)
        require_count("reduction", self.reduction)
        require_positive("temperature", self.temperature)
        for name in ("filters", "channels", "space"):
            require_flag(name, getattr(self, name))
        if self.experts == 1 and not (self.filters or self.channels or self.space):
            raise ConfigError("one kernel without any scale: nothing would depend on the input")


@dataclass(frozen=True)
class DCDConfig:
    """How a convolution is decomposed (arXiv 2103.08756).

    Attributes:
        reduction: Width of the hidden layer is ``in_channels // reduction``.
        rank: Width L of the latent space; the root of the input channels if None.
    """

    reduction: int = 16
    rank: int | None = None

    def __post_init__(self) -> None:
        require_count("reduction", self.reduction)
        if self.rank is not None:
            require_count("rank", self.rank)


@dataclass(frozen=True)
class CondConvConfig:
    """How a convolution becomes conditionally parameterized (arXiv 1904.04971).

    Attributes:
        experts: Number of kernels K, at least 2.
        mixture: ``"around"`` the first kernel, or the paper's own ``"sum"``, whose kernels start at
            ``2 W / K`` and apart from each other: exact to rounding.
        spread: Standard deviation of what sets them apart, relative to that of ``2 W / K``.
    """

    experts: int = 4
    mixture: CondConvMixture = "around"
    spread: float = 0.3

    def __post_init__(self) -> None:
        require_count("experts", self.experts, least=2)
        require_choice("mixture", self.mixture, get_args(CondConvMixture))
        require_positive("spread", self.spread)


@dataclass(frozen=True)
class ShiftMaxConfig:
    """How an activation becomes a dynamic Shift-Max (MicroNet, arXiv 2108.05894).

    Attributes:
        groups: G; the second term of each line is the channel C / G further on.
        pieces: Number of lines K, at least 2.
        reduction: Width of the hidden layer is ``channels // reduction``.
        lambda_a: Reach of the slopes around their start.
        lambda_b: Reach of the offsets around their start; 0 leaves them out, as the paper does.
        smooth: Also convert Hardswish, SiLU and GELU, as act(x) + Shift-Max(x) - ReLU(x).
    """

    groups: int = 4
    pieces: int = 2
    reduction: int = 8
    lambda_a: float = 1.0
    lambda_b: float = 0.5
    smooth: bool = False

    def __post_init__(self) -> None:
        require_count("groups", self.groups)
        _check_lines(self)


@dataclass(frozen=True)
class GateConfig:
    """How a gate is put behind a convolution: squeeze and excite (arXiv 1709.01507).

    Attributes:
        reduction: Width of the hidden layer is ``channels // reduction``.
    """

    reduction: int = 16

    def __post_init__(self) -> None:
        require_count("reduction", self.reduction)


@dataclass(frozen=True)
class ActivationGateConfig(GateConfig):
    """How a gate is put behind an activation; see `GateConfig`."""


def _check_lines(config: DynamicReLUConfig | ShiftMaxConfig) -> None:
    require_count("pieces", config.pieces, least=2)
    require_count("reduction", config.reduction)
    for name in ("lambda_a", "lambda_b"):
        require_not_negative(name, getattr(config, name))
    require_flag("smooth", config.smooth)


C = TypeVar("C")


def with_settings(config: C, **settings: Any) -> C:
    """Return `config` with those settings that are not None."""
    given = {name: value for name, value in settings.items() if value is not None}
    changed: C = replace(config, **given)  # type: ignore[type-var]
    return changed
