"""What an ONNX file says of itself: what it is, and what made it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping

import onnx
import onnx_ir as ir
import torch
from torch import nn

from dynsurgeon.deploy.facts import BANK_KEY, FORM_KEY, PRECISION_KEY, RECIPE_KEY, TARGET_KEY
from dynsurgeon.errors import SurgeryError
from dynsurgeon.export.target import Target
from dynsurgeon.form_names import Rounding

STORED = {"half": "float16", "int8": "int8"}
"""The types of stored kernel banks, where that is not the network's."""


def describe(
    model: ir.Model, network: nn.Module, target: Target, metadata: Mapping[str, str]
) -> None:
    """Write into a model what it is, what made it, and further `metadata`."""
    model.producer_name, model.producer_version = "dynsurgeon", _version("dynsurgeon")
    model.metadata_props.update(
        {
            "dynsurgeon.version": _version("dynsurgeon"),
            "dynsurgeon.torch": str(torch.__version__),
            "dynsurgeon.onnx": onnx.__version__,
            FORM_KEY: target.form.name,
            "dynsurgeon.batch": "any" if target.batch is None else str(target.batch),
            **({} if target.destination is None else {TARGET_KEY: target.destination}),
            **({} if target.rounding is None else _rounded(target.rounding)),
            **_recipe(network),
            **metadata,
        }
    )


def _rounded(rounding: Rounding) -> dict[str, str]:
    return {PRECISION_KEY: rounding} if rounding == "fp16" else {BANK_KEY: STORED[rounding]}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _recipe(network: nn.Module) -> Mapping[str, str]:
    from dynsurgeon.recipe import recipe_of

    try:
        return {RECIPE_KEY: recipe_of(network).to_json()}
    except SurgeryError:
        return {}
