"""The dynamic operators by name: what a user can ask for, and which settings that takes.

A built-in operator is a line of `OPERATORS`; a user's own is one call of `register_operator`. Names
and settings are known without torch, so that the command line starts fast; layers are imported when
they are asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from dynsurgeon.checks import require_choice
from dynsurgeon.errors import ConfigError, suggest
from dynsurgeon.settings import (
    ActivationGateConfig,
    CondConvConfig,
    DCDConfig,
    DynamicConvConfig,
    DynamicReLUConfig,
    GateConfig,
    ODConvConfig,
    ScaleConfig,
    ShiftMaxConfig,
)

if TYPE_CHECKING:
    from torch import nn

    from dynsurgeon.operators.contract import DynamicLayer

Role = Literal["conv", "activation"]
"""What kind of call site an operator can take: a convolution's or an activation's."""

Layers = Mapping["type[nn.Module]", "type[DynamicLayer]"]


@dataclass(frozen=True)
class Operator:
    """One dynamic operator.

    Attributes:
        name: Its name in a configuration and on the command line.
        role: The kind of site that it can take.
        settings: A frozen dataclass of what a user can choose, every field with a default.
        layers: Its layer for each static class that it can start from; a layer alone starts from
            every one. Or the ``"module:attribute"`` where that is.
        fixed: Values of `settings` that tell it from other operators with the same settings.
    """

    name: str
    role: Role
    settings: type[Any]
    layers: Layers | type[DynamicLayer] | str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def default(self) -> Any:
        """Return its settings as they are by default."""
        return self.settings(**self.fixed)

    def instead_of(self, other: Operator, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what holds of the values for `other` where this operator takes its place.

        Two with the same settings share what else was chosen; others have nothing in common.
        """
        kept = values if other.settings is self.settings else {}
        return {**kept, **self.fixed}

    def takes(self, settings: object) -> bool:
        """Whether these are settings of this operator."""
        return type(settings) is self.settings and all(
            getattr(settings, name) == value for name, value in self.fixed.items()
        )

    def all_layers(self) -> Layers:
        """Return its layers by static class."""
        from torch import nn

        layers: Any = self.layers
        if isinstance(layers, str):
            module, _, attribute = layers.partition(":")
            layers = getattr(importlib.import_module(module), attribute)
        return {nn.Module: layers} if isinstance(layers, type) else dict(layers)

    def layer_for(self, static: type[nn.Module] | None) -> type[DynamicLayer] | None:
        """Return its layer for a static class, or None if it can't start there."""
        from torch import nn

        layers = self.all_layers()
        return layers.get(static or nn.Module) or layers.get(nn.Module)


OPERATORS: list[Operator] = [
    Operator("dynamic", "conv", DynamicConvConfig, "dynsurgeon.operators.table:CONVOLUTIONS"),
    Operator("odconv", "conv", ODConvConfig, "dynsurgeon.operators.odconv:ODConv"),
    Operator("scale", "conv", ScaleConfig, "dynsurgeon.operators.scale:ScaledConv"),
    Operator("dcd", "conv", DCDConfig, "dynsurgeon.operators.dcd:LAYERS"),
    Operator("condconv", "conv", CondConvConfig, "dynsurgeon.operators.condconv:CondConv"),
    Operator("se", "conv", GateConfig, "dynsurgeon.operators.gate:GatedConv"),
    *(
        Operator(kind, "activation", DynamicReLUConfig, f"{home}:DynamicReLU{kind}", {"kind": kind})
        for kind, home in {
            "A": "dynsurgeon.operators.relu",
            "B": "dynsurgeon.operators.relu",
            "C": "dynsurgeon.operators.relu_spatial",
        }.items()
    ),
    Operator("shift-max", "activation", ShiftMaxConfig, "dynsurgeon.operators.shift_max:ShiftMax"),
    Operator("se", "activation", ActivationGateConfig, "dynsurgeon.operators.gate:GatedActivation"),
]
"""Every operator there is, the built-in ones first."""

DEFAULTS: Mapping[Role, str] = {"conv": "dynamic", "activation": "B"}
"""What settings that don't name their operator are settings of."""


def register_operator(operator: Operator) -> Operator:
    """Make an operator known: to plans, recipes, the command line of this process, all the rest.

    Raises:
        ConfigError: Its name, its settings or one of its layers' names is taken, or its settings
            are no dataclass.
    """
    if not is_dataclass(operator.settings):
        raise ConfigError(f"the settings of {operator.name!r} must be a dataclass")
    if any(f.name == "operator" for f in fields(operator.settings)):
        raise ConfigError(f"a setting of {operator.name!r} can't be named 'operator'")
    for other in OPERATORS:
        if other.role == operator.role and other.name == operator.name:
            raise ConfigError(f"there is an operator {operator.name!r} already")
        if other.takes(operator.default()):
            raise ConfigError(
                f"the settings of {operator.name!r} are those of {other.name!r}: give it a "
                "dataclass of its own, or `fixed` values that tell the two apart"
            )
    taken = layer_classes()
    for layer in operator.all_layers().values():
        if taken.get(layer.__name__, layer) is not layer:
            raise ConfigError(f"a dynamic layer is called {layer.__name__} already")
    OPERATORS.append(operator)
    return operator


def operator_named(role: Role, name: str) -> Operator:
    """Return an operator by its name.

    Raises:
        ConfigError: There is none of that name for such sites.
    """
    known = {operator.name: operator for operator in operators_for(role)}
    if name not in known:
        hint = suggest(name, known) or f"; known: {', '.join(known)}"
        raise ConfigError(f"unknown {role} operator {name!r}{hint}")
    return known[name]


def operators_for(role: Role) -> list[Operator]:
    """Return the operators for sites of a role."""
    return [operator for operator in OPERATORS if operator.role == role]


def operator_names(role: Role) -> list[str]:
    """Return the names of the operators for sites of a role.

    Raises:
        ConfigError: There is no such role.
    """
    require_choice("role", role, get_args(Role))
    return [operator.name for operator in operators_for(role)]


def operator_of(settings: object) -> Operator:
    """Return the operator that settings belong to.

    Raises:
        ConfigError: They are those of none.
    """
    for operator in OPERATORS:
        if operator.takes(settings):
            return operator
    raise ConfigError(f"{settings!r} are settings of no operator")


def operator_with(layer: str) -> tuple[Operator, type[DynamicLayer]] | None:
    """Return the operator that has a layer of this name, and the layer; None if none has."""
    for operator in OPERATORS:
        for each in operator.all_layers().values():
            if each.__name__ == layer:
                return operator, each
    return None


def layer_classes() -> dict[str, type[DynamicLayer]]:
    """Return every dynamic layer by the name of its class, as recipes hold it."""
    layers = (layer for operator in OPERATORS for layer in operator.all_layers().values())
    return {layer.__name__: layer for layer in layers}
