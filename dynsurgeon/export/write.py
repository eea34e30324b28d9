"""Write an ONNX file and put it under its name once it is known to be good."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from torch import nn

from dynsurgeon.deploy.facts import RECIPE_KEY
from dynsurgeon.errors import ConfigError, StorageError, SurgeryError
from dynsurgeon.export.target import Target
from dynsurgeon.files import folder_beside
from dynsurgeon.form_names import Rounding

FORM_KEY = "dynsurgeon.form"
"""Key of the file's form in its metadata."""

TARGET_KEY = "dynsurgeon.target"
"""Key of what the file was written for, where a target was named."""

PRECISION_KEY = "dynsurgeon.precision"
"""Key of the precision that a file computes in, where that is not the network's."""

BANK_KEY, STORED = "dynsurgeon.banks", {"half": "float16", "int8": "int8"}
"""Key of the type of stored kernel banks, where that is not the network's; and the types."""

EXTERNAL_DATA_LIMIT = 2**31 - 2**24
"""Bytes of weights above which they get a file of their own: protobuf ends at 2 GiB in all."""


def save_model(model: ir.Model, path: Path, limit: int) -> None:
    """Write a model; weights of more than `limit` bytes go to ``<name>.data`` beside it."""
    large = weight_bytes(model) > limit
    ir.save(model, path, external_data=data_path(path).name if large else None)


def weight_bytes(model: ir.Model) -> int:
    """Return the bytes of all initialisers."""
    return sum(
        value.const_value.nbytes
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
    )


def data_path(path: Path) -> Path:
    """Where the weights of a file lie that are too many for it."""
    return path.with_name(f"{path.name}.data")


@contextmanager
def staging(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`, removed at the end.

    Raises:
        StorageError: There is no folder to put the file in.
        ConfigError: `path` is a folder itself.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: give the name of the file to write")
    if not path.parent.is_dir():
        raise StorageError(f"there is no folder {path.parent} to write {path.name} into")
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(folder_beside(path))
        except OSError as error:
            raise StorageError(f"can't write into {path.parent}: {error.strerror}") from error
        yield folder


def install(staged: Path, path: Path) -> None:
    """Move a written file, and its data file if it has one, to their final names."""
    if data_path(staged).exists():
        os.replace(data_path(staged), data_path(path))
    elif path.exists():
        data_path(path).unlink(missing_ok=True)  # belonged to the file that is replaced
    os.replace(staged, path)


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
