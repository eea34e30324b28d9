"""What a user can choose: frozen dataclasses, checked when they are built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, get_args

from dynsurgeon.checks import (
    require_choice,
    require_count,
    require_flag,
    require_instance,
    require_number,
    require_patterns,
    require_positive,
)
from dynsurgeon.errors import ConfigError, suggest

Start = Literal["identical", "zero-sum"]
ReLUKind = Literal["A", "B", "C"]
PresetName = Literal["all", "last-1x1", "balanced"]
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
        require_count("pieces", self.pieces, least=2)
        require_count("reduction", self.reduction)
        for name in ("lambda_a", "lambda_b"):
            require_number(name, getattr(self, name))
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be below 0, got {getattr(self, name)!r}")
        require_positive("temperature", self.temperature)
        require_flag("smooth", self.smooth)


@dataclass(frozen=True)
class MeasureConfig:
    """How latency is measured: in onnxruntime on the CPU, at batch 1.

    Attributes:
        form: Layout of the dynamic network's ONNX file, as `export_onnx` takes it.
        this_cpu: Whether form ``"auto"`` may choose a layout for CPUs like this one alone.
        threads: Threads of an operator, or None for as many as the machine has cores.
        rounds: Timed rounds of the whole networks, interleaved.
    """

    form: str = "rule"
    this_cpu: bool = False
    threads: int | None = None
    rounds: int = 30

    def __post_init__(self) -> None:
        if not isinstance(self.form, str):
            raise ConfigError(f"form must be the name of an ONNX layout, got {self.form!r}")
        require_flag("this_cpu", self.this_cpu)
        if self.threads is not None:
            require_count("threads", self.threads)
        require_count("rounds", self.rounds)


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
        skip_frozen: Leave convolutions static none of whose parameters trains, in a model where
            others do. A model that is frozen as a whole is converted.
        seed: Seed of the random attention and kernels, so that a conversion can be repeated.
        preset: Which sites to begin from; see `surgery.presets.PRESETS`.
        latency_budget: Most that the dynamic network may take over the static one, as a ratio of
            times measured on this machine; the sites that give most within it are chosen.
        macs_budget: The same for multiply-accumulates.
        params_budget: The same for parameters.
        measure: How latency is measured, for a latency budget.
    """

    conv: DynamicConvConfig | None = field(default_factory=DynamicConvConfig)
    activation: DynamicReLUConfig | None = field(default_factory=DynamicReLUConfig)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overrides: Mapping[str, Settings] = field(default_factory=dict)
    skip_stem: bool = True
    skip_points: bool = True
    skip_patchify: bool = True
    skip_frozen: bool = True
    seed: int = 0
    preset: PresetName = "all"
    latency_budget: float | None = None
    macs_budget: float | None = None
    params_budget: float | None = None
    measure: MeasureConfig = field(default_factory=MeasureConfig)

    def __post_init__(self) -> None:
        require_instance("conv", self.conv, DynamicConvConfig)
        require_instance("activation", self.activation, DynamicReLUConfig)
        for name in ("include", "exclude"):
            object.__setattr__(self, name, require_patterns(name, getattr(self, name)))
        if not isinstance(self.overrides, Mapping):
            raise ConfigError(f"overrides must map patterns to settings, got {self.overrides!r}")
        for pattern, settings in self.overrides.items():
            _check_override(pattern, settings)
        for name in ("skip_stem", "skip_points", "skip_patchify", "skip_frozen"):
            require_flag(name, getattr(self, name))
        require_count("seed", self.seed, least=0)
        require_choice("preset", self.preset, get_args(PresetName))
        for name, value in self.budgets.items():
            _check_budget(name, value)
        if not isinstance(self.measure, MeasureConfig):
            raise ConfigError(f"measure must be a MeasureConfig, got {self.measure!r}")

    @property
    def budgets(self) -> dict[str, float]:
        """The budgets that are set: ``"latency"``, ``"MACs"``, ``"parameter"`` to a ratio."""
        every = {
            "latency": self.latency_budget,
            "MACs": self.macs_budget,
            "parameter": self.params_budget,
        }
        return {name: value for name, value in every.items() if value is not None}

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
        for key, kind in _TABLES.items():
            value = arguments.get(key)
            if isinstance(value, Mapping):
                arguments[key] = _build(kind, value)
            elif value is False and key != "measure":  # TOML has no null
                arguments[key] = None
        return cls(**arguments)


C = TypeVar("C", DynamicConvConfig, DynamicReLUConfig)
_TABLES: dict[str, type[Any]] = {
    "conv": DynamicConvConfig,
    "activation": DynamicReLUConfig,
    "measure": MeasureConfig,
}


def apply_overrides(config: C, values: Settings) -> C:
    """Return `config` with those of `values` that it knows; others belong to the other kind."""
    known = {f.name for f in fields(config)}
    return replace(config, **{key: value for key, value in values.items() if key in known})


def _build(kind: type[Any], values: Settings) -> Any:
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


def _check_budget(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ConfigError(
            f"the {name} budget is a ratio, dynamic over static, of at least 1 (1.15 lets the "
            f"dynamic network cost 15% more), got {value!r}"
        )
