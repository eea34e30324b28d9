"""Names to networks: torchvision, timm, and whatever callable returns an `nn.Module`.

- ``resnet18``: a name of `torchvision.models.list_models()`
- ``timm:resnet18``: a name of timm (the extra ``dynsurgeon[timm]``)
- ``package.module:callable``: imported, with the working directory on the path
- ``file.py:callable``: the same from a file
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal, cast

from torch import nn
from torchvision import models as zoo

from dynsurgeon.errors import ConfigError, ModelNotFoundError, WeightsError, suggest
from dynsurgeon.messages import one_line
from dynsurgeon.models.callables import call_spec
from dynsurgeon.models.weights import (
    WAYS_OUT,
    choose_weights,
    downloading,
    hub_fails_fast,
    load_weights,
)
from dynsurgeon.running.quiet import quiet_warnings

TIMM = "timm:"
FORMS = "a torchvision name, timm:NAME, package.module:callable or file.py:callable"
RESERVED = {
    "weights", "weights_backbone", "pretrained", "pretrained_backbone", "pretrained_cfg",
    "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "progress", "quantize",
}  # fmt: skip
"""Arguments of builders that choose, fetch or read weights: that is `weights`' part alone."""

Source = Literal["torchvision", "timm", "callable"]


def source_of(spec: str) -> Source:
    """Say where the model of that name comes from."""
    if spec.startswith(TIMM):
        return "timm"
    return "callable" if ":" in spec else "torchvision"


def build_model(
    spec: str,
    weights: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    *,
    progress: bool = False,
) -> nn.Module:
    """Build the network that `spec` names.

    Args:
        spec: The model, in one of the forms above.
        weights: ``"DEFAULT"`` (also when None), the name of a model's weights, ``"random"``, or a
            file. A callable's model comes with the weights that the callable gives it, unless this
            is a file.
        arguments: Keyword arguments for the model's builder, such as ``num_classes``.
        progress: Show torchvision's progress bar while weights are downloaded.

    Raises:
        ModelNotFoundError: There is no such model, or its callable fails.
        ConfigError: The builder doesn't take the arguments.
        WeightsError: The weights can't be had, or don't fit.
    """
    arguments = dict(arguments or {})
    source = source_of(spec)
    with quiet_warnings():
        if source == "callable":
            choice = choose_weights(weights, (), spec)
            model = call_spec(spec, arguments)
            if choice.kind == "file":
                load_weights(model, choice.value)
            return model
        for name in sorted(RESERVED & arguments.keys()):
            raise ConfigError(f"{name} is no argument for a model here; use --weights")
        if source == "timm":
            return _from_timm(spec, weights, arguments)
        return _from_torchvision(spec, weights, arguments, progress)


def torchvision_names() -> list[str]:
    """Return the names of torchvision's models."""
    return cast("list[str]", zoo.list_models())


def timm_names() -> list[str]:
    """Return the names of timm's models, each with its ``timm:``.

    Raises:
        ModelNotFoundError: timm is not installed.
    """
    return [f"{TIMM}{name}" for name in _import_timm().list_models()]


def _from_torchvision(
    name: str, weights: str | None, arguments: dict[str, Any], progress: bool
) -> nn.Module:
    known = torchvision_names()
    if name not in known:
        hint = suggest(name.lower(), known)
        raise ModelNotFoundError(f"no model {name!r}{hint or f'; a model is {FORMS}'}")
    builder = zoo.get_model_builder(name)
    if "weights_backbone" in inspect.signature(builder).parameters:
        arguments["weights_backbone"] = None
    members = float_weights(name)
    choice = choose_weights(weights, members, name)
    if choice.kind in ("default", "name"):
        if not members:
            raise WeightsError(f"torchvision has no weights for {name}; {WAYS_OUT}")
        entry = members[choice.value] if choice.value else next(reversed(members.values()))
        with downloading(name):
            return _call(builder, name, {**arguments, "weights": entry, "progress": progress})
    model = _call(builder, name, {**arguments, "weights": None})
    if choice.kind == "file":
        load_weights(model, choice.value)
    return model


def float_weights(name: str) -> dict[str, Any]:
    """Return torchvision's weights for a model by name, the default last; none are quantized."""
    kind = zoo.get_model_weights(name)
    if not len(kind):
        return {}
    default = kind.DEFAULT.meta.get("unquantized", kind.DEFAULT)
    members = {entry.name: entry for entry in type(default)}
    return {**{key: entry for key, entry in members.items() if entry is not default},
            default.name: default}  # fmt: skip


def _from_timm(spec: str, weights: str | None, arguments: dict[str, Any]) -> nn.Module:
    timm = _import_timm()
    name = spec.removeprefix(TIMM)
    known = timm.list_models()
    base, _, tag = name.partition(".")
    if base not in known:
        raise ModelNotFoundError(f"timm has no model {name!r}{suggest(base.lower(), known)}")
    pretrained = [n for n in timm.list_pretrained(f"{base}*") if n.partition(".")[0] == base]
    tags = [entry.partition(".")[2] for entry in pretrained]
    if tag and tag not in tags:
        raise ModelNotFoundError(f"timm has no weights {tag!r} for {base}{suggest(tag, tags)}")
    choice = choose_weights(weights, tags, spec)
    if choice.kind == "default" and not pretrained:
        raise WeightsError(f"timm has no weights for {base}; {WAYS_OUT}")
    if choice.kind in ("default", "name"):
        full = f"{base}.{choice.value}" if choice.value else name
        with downloading(spec), hub_fails_fast():
            return _call(timm.create_model, full, {**arguments, "pretrained": True}, full)
    model = _call(timm.create_model, name, {**arguments, "pretrained": False}, name)
    if choice.kind == "file":
        load_weights(model, choice.value)
    return model


def _import_timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ModelNotFoundError("timm is not installed; pip install 'dynsurgeon[timm]'") from error


def _call(
    builder: Callable[..., Any], name: str, arguments: Mapping[str, Any], *positional: Any
) -> nn.Module:
    try:
        return cast("nn.Module", builder(*positional, **arguments))
    except (TypeError, ValueError, AssertionError, NotImplementedError) as error:
        if arguments.get("weights") and "expected value" in str(error):
            raise WeightsError(
                f"the weights of {name} don't fit its arguments ({one_line(error)}); {WAYS_OUT}"
            ) from error
        raise ConfigError(f"{name} can't be built so ({one_line(error)})") from error
