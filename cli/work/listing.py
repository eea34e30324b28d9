"""The work of ``models``: names, and what is known or measured of each."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from torchvision import models as zoo

import dynsurgeon as ds
from dynsurgeon.errors import ModelNotFoundError, SurgeryError, suggest
from dynsurgeon.models.examples import default_input_size, example_inputs
from dynsurgeon.models.names import TIMM, build_model, float_weights, timm_names, torchvision_names

Row = dict[str, Any]


def find_names(pattern: str | None) -> list[str]:
    """Return the names that are `pattern`, match it as a glob, or contain it.

    Raises:
        ModelNotFoundError: There is none.
    """
    if pattern is None:
        return torchvision_names()
    known = timm_names() if pattern.startswith(TIMM) else torchvision_names()
    if pattern in known:
        return [pattern]
    if any(sign in pattern for sign in "*?["):
        found = [name for name in known if fnmatchcase(name, pattern)]
    else:
        found = [name for name in known if pattern.removeprefix(TIMM) in name]
    if not found:
        raise ModelNotFoundError(f"no model matches {pattern!r}{suggest(pattern.lower(), known)}")
    return found


def describe(name: str) -> Row:
    """Say what is known of a model without building it."""
    if name.startswith(TIMM):
        return {"model": name}
    weights = float_weights(name)
    meta = next(reversed(weights.values())).meta if weights else {}
    return {
        "model": name,
        "kind": kind_of(name),
        "params": meta.get("num_params"),
        "MACs": int(meta["_ops"] * 1e9) if "_ops" in meta else None,
        "weights": " ".join(weights) or None,
    }


def kind_of(name: str) -> str:
    """Return the folder of torchvision that a model lives in, ``classification`` for the root."""
    module = zoo.get_model_builder(name).__module__.split(".")
    return module[2] if len(module) > 3 else "classification"


def measure(name: str) -> Row:
    """Build a model with random weights and plan it under the default configuration."""
    row: Row = {"model": name}
    model = build_model(name, "random").eval()
    row["input"] = list(default_input_size(name, model))
    keys = ("sites", "dynamic", "params", "params after", "MACs", "MACs after", "note")
    try:
        plan = ds.plan(model, example_inputs(name, model))
    except SurgeryError as error:
        return {**row, **dict.fromkeys(keys), "note": str(error)}
    values = (
        len(plan.sites), len(plan.converted), plan.params_before, plan.params_after,
        plan.macs_before, plan.macs_after, None,
    )  # fmt: skip
    return {**row, **dict(zip(keys, values, strict=True))}
