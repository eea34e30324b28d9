"""What a user can choose: frozen dataclasses, checked when they are built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from dynsurgeon.checks import require_choice, require_count, require_flag, require_patterns
from dynsurgeon.errors import ConfigError, suggest
from dynsurgeon.form_names import ExportFormName, check_form
from dynsurgeon.overrides import Settings, apply_overrides, check_override
from dynsurgeon.registry import (
    DEFAULTS,
    Role,
    operator_named,
    operator_names,
    operator_of,
    operators_for,
)
from dynsurgeon.settings import DynamicConvConfig, DynamicReLUConfig, ReLUKind, Start

__all__ = [
    "DynamicConvConfig",
    "DynamicReLUConfig",
    "MeasureConfig",
    "PresetName",
    "ReLUKind",
    "Start",
    "SurgeryConfig",
    "apply_overrides",
    "operator_settings",
]

PresetName = Literal["all", "recommended", "last-1x1", "balanced"]


@dataclass(frozen=True)
class MeasureConfig:
    """How latency is measured: in onnxruntime on the CPU, at batch 1.

    Attributes:
        form: Layout of the dynamic network's ONNX file, as `export_onnx` takes it.
        this_cpu: Whether form ``"auto"`` may choose a layout for CPUs like this one alone.
        threads: Threads of an operator, or None for as many as the machine has cores.
        rounds: Timed rounds of the whole networks, interleaved.
    """

    form: ExportFormName = "rule"
    this_cpu: bool = False
    threads: int | None = None
    rounds: int = 30

    def __post_init__(self) -> None:
        require_flag("this_cpu", self.this_cpu)
        check_form(self.form, this_cpu=self.this_cpu)
        if self.threads is not None:
            require_count("threads", self.threads)
        require_count("rounds", self.rounds)


@dataclass(frozen=True)
class SurgeryConfig:
    """The whole operation: what to convert, how, and where.

    A pattern is a glob on dotted site names (``"layer4.*"``), a regular expression
    (``"re:.*conv[12]"``) or a class name (``"Conv2d"``). One that selects nothing is an error.

    Attributes:
        conv: Settings for convolutions (`DynamicConvConfig`, or those of another operator), the
            name of an operator (``"dynamic"``), or None to leave them alone.
        activation: The same for activations (`DynamicReLUConfig`; ``"A"``, ``"B"``, ``"C"``).
        include: Patterns of the sites to convert; empty means every site.
        exclude: Patterns of sites to leave alone; wins over `include`.
        overrides: Settings by pattern, for example ``{"layer4.*": {"conv.experts": 8}}``, or
            ``{"*.relu": {"activation": "C"}}`` for another operator there. A key without
            ``conv.`` or ``activation.`` is meant for both. Later patterns win, and a key that
            says something to none of the sites is an error.
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

    conv: Any = field(default_factory=DynamicConvConfig)
    activation: Any = field(default_factory=DynamicReLUConfig)
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
        for role in get_args(Role):
            object.__setattr__(self, role, operator_settings(role, getattr(self, role)))
        for name in ("include", "exclude"):
            object.__setattr__(self, name, require_patterns(name, getattr(self, name)))
        if not isinstance(self.overrides, Mapping):
            raise ConfigError(f"overrides must map patterns to settings, got {self.overrides!r}")
        for pattern, settings in self.overrides.items():
            check_override(pattern, settings)
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
        lists = {"include": list(self.include), "exclude": list(self.exclude)}
        return {
            **asdict(self),
            "conv": _table("conv", self.conv),
            "activation": _table("activation", self.activation),
            **lists,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SurgeryConfig:
        """Build a configuration from plain values, as JSON or TOML hold them.

        Raises:
            ConfigError: A key is unknown or a value is not valid.
        """
        _check_keys(cls, values)
        arguments = dict(values)
        for role in get_args(Role):
            if arguments.get(role) is False:  # TOML has no null
                arguments[role] = None
        if isinstance(arguments.get("measure"), Mapping):
            _check_keys(MeasureConfig, arguments["measure"])
            arguments["measure"] = MeasureConfig(**arguments["measure"])
        return cls(**arguments)


def operator_settings(role: Role, value: object) -> Any:
    """Return the settings of an operator: `value` itself, or those that it names, or None.

    Args:
        role: The kind of site.
        value: Settings of an operator for such sites, the name of one, a table of settings (with
            its name under ``"operator"``, unless it is the default one), ``"none"`` or None.

    Raises:
        ConfigError: It is none of these.
    """
    if value is None or value == "none":
        return None
    if isinstance(value, str):
        return operator_named(role, value).default()
    if isinstance(value, Mapping):
        return _from_table(role, value)
    if not any(operator.takes(value) for operator in operators_for(role)):
        known = ", ".join(operator_names(role))
        raise ConfigError(
            f"{role} must be an operator's name ({known}), its settings, or None, got {value!r}"
        )
    return value


def _from_table(role: Role, table: Settings) -> Any:
    values = dict(table)
    named = values.pop("operator", None)
    operator = operator_named(role, DEFAULTS[role] if named is None else named)
    _check_keys(operator.settings, values, None if named is None else operator.name)
    return operator.settings(**{**(operator.fixed if named else {}), **values})


def _table(role: Role, config: Any) -> dict[str, Any] | None:
    if config is None:
        return None
    usual = operator_named(role, DEFAULTS[role]).settings
    name = {} if isinstance(config, usual) else {"operator": operator_of(config).name}
    return {**name, **asdict(config)}


def _check_keys(kind: type[Any], values: Settings, operator: str | None = None) -> None:
    known = [f.name for f in fields(kind)]
    for key in values:
        if key in known:
            continue
        hint = suggest(key, known)
        if operator is None:
            raise ConfigError(f"unknown setting {key!r}{hint}")
        hint = hint or f"; it has {', '.join(known)}"
        raise ConfigError(f"the operator {operator} has no setting {key!r}{hint}")


def _check_budget(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ConfigError(
            f"the {name} budget is a ratio, dynamic over static, of at least 1 (1.15 lets the "
            f"dynamic network cost 15% more), got {value!r}"
        )
