"""Save a dynamic model as a JSON recipe and safetensors, and load it onto its static model.

No pickle: loading runs no code from the files. Writes are atomic, and the recipe holds the digest
of the tensor file, so that two files which don't belong together are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from dynsurgeon.errors import ConfigError, StorageError, SurgeryError
from dynsurgeon.files import file_digest, staged_file
from dynsurgeon.messages import first_line
from dynsurgeon.recipe import Recipe, attach_recipe, recipe_of
from dynsurgeon.running.copying import UncopyableError, copy_of
from dynsurgeon.running.skeleton import skeleton_of
from dynsurgeon.surgery.accept import check_model, check_static
from dynsurgeon.surgery.cut.apply import apply_recipe
from dynsurgeon.surgery.cut.intact import intact
from dynsurgeon.tensor_file import (
    Header,
    check_bank_sizes,
    check_savable,
    check_tensors,
    check_written,
    read_header,
    read_tensors,
    write_tensors,
)

RECIPE_FILE = "recipe.json"
TENSOR_FILE = "model.safetensors"


def save(
    model: nn.Module, directory: str | Path, *, origin: Mapping[str, Any] | None = None
) -> None:
    """Write ``recipe.json`` and ``model.safetensors`` into `directory`.

    Args:
        model: A converted model.
        directory: Made if it does not exist; files of an earlier save are replaced.
        origin: How the static model was built, kept in the recipe (JSON values).

    Raises:
        UnsupportedModelError: The model was not converted by dynsurgeon.
        ConfigError: `origin` holds something else than JSON values.
        StorageError: It can't be written, or what was written would not load. Files of an earlier
            save are as they were then.
    """
    recipe = _in_present_precision(model, recipe_of(model))
    if origin is not None:
        recipe = replace(recipe, origin=_plain_values(origin))
    check_savable(model)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = staged_file(folder / TENSOR_FILE), staged_file(folder / RECIPE_FILE)
        with files[0] as tensors, files[1] as text:
            write_tensors(model, tensors)
            check_written(model, recipe, tensors)
            sealed = replace(recipe, sha256=file_digest(tensors))
            text.write_text(sealed.to_json(), encoding="utf-8")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise StorageError(f"can't write into {folder}: {reason}") from error


@torch.inference_mode(False)
def load(directory: str | Path, model: nn.Module, *, copy: bool = True) -> nn.Module:
    """Make `model` the dynamic model that was saved in `directory`.

    Args:
        directory: Where `save` wrote.
        model: The static model that it was made from, with any weights; folded in the same way,
            if the dynamic one was folded before it was saved.
        copy: Leave `model` as it is and return a dynamic copy.

    Returns:
        The dynamic model, with the saved tensors, temperature included.

    Raises:
        StorageError: A file is missing, damaged, or of another model.
        UnsupportedModelError: `model` is of a kind that can't be converted, or it can't be copied
            (it may be loaded with copy=False).
    """
    check_model(model)
    check_static(model)
    recipe = read_recipe(directory)
    tensors = Path(directory) / TENSOR_FILE
    header = read_header(tensors)
    check_bank_sizes(model, recipe, header)
    if recipe.sha256 is not None and file_digest(tensors) != recipe.sha256:
        raise StorageError(f"{tensors} is damaged, or was not saved with this {RECIPE_FILE}")
    try:
        # Whatever is wrong with the files shows here, before anything is cut, and without the
        # memory that a hostile recipe may ask for.
        with torch.device("meta"):
            _cut(skeleton_of(model), recipe, header, tensors)
    except UncopyableError:
        if copy:
            raise
    dynamic = copy_of(model) if copy else model
    with nullcontext() if copy else intact(dynamic):
        _cut(dynamic, recipe, header, tensors)
    read_tensors(dynamic, tensors)
    attach_recipe(dynamic, recipe)
    return dynamic


def _cut(model: nn.Module, recipe: Recipe, header: Header, path: Path) -> None:
    try:
        apply_recipe(model, recipe)
    except SurgeryError:
        raise
    except Exception as error:
        raise StorageError(f"the recipe does not fit the model: {first_line(error)}") from error
    check_tensors(model, header, path)


def read_recipe(directory: str | Path) -> Recipe:
    """Read the recipe of a saved model.

    Raises:
        StorageError: It is missing or not valid.
    """
    path = Path(directory) / RECIPE_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageError(f"can't read {path}: {reason}") from error
    try:
        return Recipe.from_json(text)
    except StorageError as error:
        raise StorageError(f"{path}: {error}") from error


def _in_present_precision(model: nn.Module, recipe: Recipe) -> Recipe:
    # Whoever calls `dynamic.half()` will load it onto `static.half()`.
    sites = []
    for site in recipe.sites:
        try:
            tensors = model.get_submodule(site.name).parameters()
        except AttributeError as error:
            raise StorageError(
                f"the dynamic layer {site.name!r} was taken out of the model: save the model "
                "before that (before it is folded, say), or convert the one that it is now"
            ) from error
        kinds = (str(t.dtype).removeprefix("torch.") for t in tensors)
        sites.append(replace(site, dtype=next(kinds, site.dtype)))
    return replace(recipe, sites=tuple(sites))


def _plain_values(origin: Mapping[str, Any]) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(json.dumps(dict(origin)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"origin must hold JSON values: {error}") from error
    return values
