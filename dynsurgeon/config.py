"""What a user can choose: frozen dataclasses, checked when they are built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, get_args

from dynsurgeon.errors import ConfigError, suggest

Start = Literal["identical", "zero-sum"]
ReLUKind = Literal["A", "B", "C"]
Settings = Mapping[str, Any]


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
        _require_count("experts", self.experts)
        _require_count("reduction", self.reduction)
        _require_positive("temperature", self.temperature)
        _require_choice("start", self.start, get_args(Start))
        _require_number("spread", self.spread)
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
        _require_choice("kind", self.kind, get_args(ReLUKind))
        _require_count("pieces", self.pieces, least=2)
        _require_count("reduction", self.reduction)
        for name in ("lambda_a", "lambda_b"):
            _require_number(name, getattr(self, name))
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be below 0, got {getattr(self, name)!r}")
        _require_positive("temperature", self.temperature)
        _require_flag("smooth", self.smooth)


@dataclass(frozen=True)
class SurgeryConfig:
    """The whole operation: what to convert, how, and where.

    A pattern is a glob on dotted site names (``"layer4.*"``), a regular expression
    (``"re:.*conv[12]"``) or a class name (``"Conv2d"``). One that selects nothing is an error.

    Attributes:
        conv: Settings for convolutions, or None to leave them alone.
        activation: Settings for activations, or None to leave them alone.
        include: Patterns of the sites to convert; empty means every site.
        exclude: Patterns of sites to leave alone; wins over `include`.
        overrides: Settings by pattern, for example ``{"layer4.*": {"experts": 8}}``. Keys are
            those of `DynamicConvConfig` and `DynamicReLUConfig`; later patterns win.
        skip_stem: Leave the first convolution static, as the paper does.
        skip_points: Leave convolutions whose input is a 1x1 map static (gates, pooled branches).
        skip_patchify: Leave convolutions static whose stride is their kernel (patch embeddings).
        seed: Seed of the random attention and kernels, so that a conversion can be repeated.
    """

    conv: DynamicConvConfig | None = field(default_factory=DynamicConvConfig)
    activation: DynamicReLUConfig | None = field(default_factory=DynamicReLUConfig)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overrides: Mapping[str, Settings] = field(default_factory=dict)
    skip_stem: bool = True
    skip_points: bool = True
    skip_patchify: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _require_instance("conv", self.conv, DynamicConvConfig)
        _require_instance("activation", self.activation, DynamicReLUConfig)
        for name in ("include", "exclude"):
            object.__setattr__(self, name, _require_patterns(name, getattr(self, name)))
        if not isinstance(self.overrides, Mapping):
            raise ConfigError(f"overrides must map patterns to settings, got {self.overrides!r}")
        for pattern, settings in self.overrides.items():
            _check_override(pattern, settings)
        for name in ("skip_stem", "skip_points", "skip_patchify"):
            _require_flag(name, getattr(self, name))
        _require_count("seed", self.seed, least=0)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON values."""
        return {**asdict(self), "include": list(self.include), "exclude": list(self.exclude)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SurgeryConfig:
        """Build a configuration from plain values, as JSON or TOML hold them.

        Raises:
            ConfigError: A key is unknown or a value is not valid.
        """
        known = {f.name for f in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown setting {key!r}{suggest(key, known)}")
        arguments = dict(values)
        for key, kind in (("conv", DynamicConvConfig), ("activation", DynamicReLUConfig)):
            value = arguments.get(key)
            if isinstance(value, Mapping):
                arguments[key] = _build(kind, value)  # type: ignore[type-var]
            elif value is False:  # TOML has no null
                arguments[key] = None
        return cls(**arguments)


C = TypeVar("C", DynamicConvConfig, DynamicReLUConfig)


def apply_overrides(config: C, values: Settings) -> C:
    """Return `config` with those of `values` that it knows; others belong to the other kind."""
    known = {f.name for f in fields(config)}
    return replace(config, **{key: value for key, value in values.items() if key in known})


def _build(kind: type[C], values: Settings) -> C:
    known = {f.name for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown setting {key!r}{suggest(key, known)}")
    return kind(**values)


def _check_override(pattern: str, values: Settings) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"override {pattern!r} must be a table of settings, got {values!r}")
    known = {f.name for kind in (DynamicConvConfig, DynamicReLUConfig) for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"override {pattern!r}: unknown setting {key!r}{suggest(key, known)}")
    apply_overrides(DynamicConvConfig(), values)
    apply_overrides(DynamicReLUConfig(), {k: v for k, v in values.items() if k != "temperature"})


def _require_count(name: str, value: object, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _require_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, got {value!r}")


def _require_positive(name: str, value: float) -> None:
    _require_number(name, value)
    if value <= 0:
        raise ConfigError(f"{name} must be a number above 0, got {value!r}")


def _require_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false, got {value!r}")


def _require_instance(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__} or None, got {value!r}")


def _require_patterns(name: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ConfigError(f"{name} must be a tuple of patterns, got the string {value!r}")
    if not isinstance(value, tuple | list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{name} must be a tuple of patterns, got {value!r}")
    return tuple(value)


def _require_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
