"""From the options to a network, its inputs, and the note of where it came from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dynsurgeon as ds
from dynsurgeon.errors import StorageError
from dynsurgeon.models.examples import default_input_size, example_inputs
from dynsurgeon.models.names import build_model, source_of
from dynsurgeon.running.inputs import Inputs
from dynsurgeon.storage import read_recipe

from ..options.arguments import parse_model_arguments, parse_size
from ..options.shared import ModelOptions


@dataclass(frozen=True)
class Subject:
    """A network, ready to be worked on.

    Attributes:
        model: The network, in eval mode.
        inputs: Example inputs, batch 2.
        origin: How to build it again: its name, arguments, weights, and the shape of a sample.
    """

    model: nn.Module
    inputs: Inputs
    origin: dict[str, Any]


def load_subject(options: ModelOptions) -> Subject:
    """Build the network that the options name.

    Raises:
        ModelNotFoundError: There is no such model.
        ConfigError: An argument or the input size is not valid.
        WeightsError: The weights can't be had, or don't fit.
    """
    arguments = parse_model_arguments(options.model_arg)
    size = parse_size(options.input_size)
    seed = options.seed or 0
    torch.manual_seed(seed)
    bar = sys.stderr.isatty()
    model = build_model(options.model, options.weights, arguments, progress=bar).eval()
    size = size or default_input_size(options.model, model)
    origin = {
        "model": options.model,
        "arguments": arguments,
        "weights": Path(options.weights or "DEFAULT").name,  # a path would tell of this machine
        "input_size": list(size),
    }
    inputs = example_inputs(options.model, model, size, seed=seed)
    return Subject(model, inputs, origin)


def reload_subject(directory: Path, spec: str | None = None) -> Subject:
    """Build the dynamic network that a directory holds.

    Names of torchvision and timm are built as the recipe says. Code of the user's own is run only
    if it is named again in `spec`, for a recipe may come from anybody.

    Raises:
        StorageError: The directory is not one of ours, or its files are damaged.
        ModelNotFoundError: The recipe's model is the user's own, and `spec` doesn't name it.
    """
    origin = _read_origin(directory)
    base = _static_of(directory, origin, spec)
    return _reloaded(directory, origin, spec, base, copy=False)


def reload_twins(directory: Path, spec: str | None = None) -> tuple[nn.Module, Subject]:
    """Build the static network that a directory's was made from, and the dynamic one.

    The static one has random weights: the directory holds none of its own.

    Raises:
        StorageError: The directory is not one of ours, or its files are damaged.
        ModelNotFoundError: The recipe's model is the user's own, and `spec` doesn't name it.
    """
    origin = _read_origin(directory)
    base = _static_of(directory, origin, spec)
    return base, _reloaded(directory, origin, spec, base, copy=True)


def _static_of(directory: Path, origin: Mapping[str, Any], spec: str | None) -> nn.Module:
    name = origin["model"]
    if spec is None and source_of(name) == "callable":
        raise ds.ModelNotFoundError(
            f"'{directory}' was made from {name!r}, which is code; if you trust it, name it again: "
            f"--model {name}"
        )
    base = build_model(spec or name, "random", origin["arguments"]).eval()
    _renew_head(base, origin, directory)
    return base


def _reloaded(
    directory: Path, origin: Mapping[str, Any], spec: str | None, base: nn.Module, *, copy: bool
) -> Subject:
    inputs = example_inputs(spec or origin["model"], base, origin["input_size"])
    return Subject(ds.load(directory, base, copy=copy), inputs, dict(origin))


def _renew_head(base: nn.Module, origin: Mapping[str, Any], directory: Path) -> None:
    """Give the network the last layer that fine-tuning put in its place."""
    head = origin.get("head")
    if head is None:
        return
    from dynsurgeon.training.finetune.head import reset_head

    try:
        name, classes = str(head["name"]), int(head["classes"])
    except (TypeError, KeyError, ValueError) as error:
        raise StorageError(f"the recipe in '{directory}' has no valid head: {head!r}") from error
    if not 0 < classes < 2**24:
        raise StorageError(f"the recipe in '{directory}' has no valid head: {head!r}")
    reset_head(base, name, classes)


def _read_origin(directory: Path) -> Mapping[str, Any]:
    if not directory.is_dir():
        raise StorageError(f"there is no directory '{directory}'")
    origin = read_recipe(directory).origin
    kinds = {"model": str, "arguments": dict, "input_size": list}
    if origin is None or not all(isinstance(origin.get(k), kind) for k, kind in kinds.items()):
        raise StorageError(
            f"the recipe in '{directory}' doesn't say how its model is built; load it in Python: "
            "dynsurgeon.load(directory, model)"
        )
    if not all(isinstance(n, int) and 0 < n < 2**16 for n in origin["input_size"]):
        raise StorageError(f"the recipe in '{directory}' has no valid input size")
    return origin
