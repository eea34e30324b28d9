"""The settings of the built-in operators: frozen dataclasses, checked when they are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from dynsurgeon.checks import (
    require_choice,
    require_count,
    require_flag,
    require_number,
    require_positive,
)
from dynsurgeon.errors import ConfigError

Start = Literal["identical", "zero-sum"]
ReLUKind = Literal["A", "B", "C"]


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
        smooth: Also convert Hardswish, SiLU and GELU, as act(x) + DY-ReLU(x) - ReLU(x).
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
        require_count("pieces", self.pieces, least=2)
        require_count("reduction", self.reduction)
        for name in ("lambda_a", "lambda_b"):
            require_number(name, getattr(self, name))
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be below 0, got {getattr(self, name)!r}")
        require_positive("temperature", self.temperature)
        require_flag("smooth", self.smooth)
