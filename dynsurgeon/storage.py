"""Save a dynamic model as a JSON recipe and safetensors, and load it onto its static model.

No pickle: loading runs no code from the files. Writes are atomic, and the recipe holds the digest
of the tensor file, so that two files which don't belong together are refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_model
from torch import Tensor, nn

from dynsurgeon.errors import ConfigError, StorageError, SurgeryError, suggest
from dynsurgeon.recipe import Recipe, attach_recipe, recipe_of
from dynsurgeon.surgery.accept import check_model, check_static
from dynsurgeon.surgery.copying import copy_of
from dynsurgeon.surgery.cut import apply_recipe
from dynsurgeon.surgery.skeleton import skeleton_of
from dynsurgeon.surgery.trace import first_line

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
        StorageError: It can't be written. Files of an earlier save are as they were then.
    """
    recipe = recipe_of(model)
    if origin is not None:
        recipe = replace(recipe, origin=_plain_values(origin))
    _check_savable(model)
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with staged(folder / TENSOR_FILE) as tensors, staged(folder / RECIPE_FILE) as text:
            save_model(model, str(tensors))
            text.write_text(replace(recipe, sha256=_digest(tensors)).to_json(), encoding="utf-8")
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        raise StorageError(f"can't write into {folder}: {reason}") from error


@torch.inference_mode(False)
def load(directory: str | Path, model: nn.Module, *, copy: bool = True) -> nn.Module:
    """Make `model` the dynamic model that was saved in `directory`.

    Args:
        directory: Where `save` wrote.
        model: The static model that it was made from, with any weights.
        copy: Leave `model` as it is and return a dynamic copy.

    Returns:
        The dynamic model, with the saved tensors, temperature included.

    Raises:
        StorageError: A file is missing, damaged, or of another model.
        UnsupportedModelError: `model` is of a form that can't be converted.
    """
    check_model(model)
    check_static(model)
    recipe = read_recipe(directory)
    tensors = Path(directory) / TENSOR_FILE
    header = _read_header(tensors)
    _check_bank_sizes(recipe, header)
    if recipe.sha256 is not None and _digest(tensors) != recipe.sha256:
        raise StorageError(f"{tensors} is damaged, or was not saved with this {RECIPE_FILE}")
    _rehearse(model, recipe, header, tensors)
    dynamic = copy_of(model) if copy else model
    apply_recipe(dynamic, recipe)
    _copy_tensors(dynamic, tensors)
    attach_recipe(dynamic, recipe)
    return dynamic


def _rehearse(model: nn.Module, recipe: Recipe, header: Header, path: Path) -> None:
    # Whatever is wrong with the files shows here, before anything is cut, and without the memory
    # that a hostile recipe may ask for.
    with torch.device("meta"):
        skeleton = skeleton_of(model)
        try:
            apply_recipe(skeleton, recipe)
        except SurgeryError:
            raise
        except Exception as error:
            raise StorageError(f"the recipe does not fit the model: {first_line(error)}") from error
    _check_tensors(skeleton, header, path)


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


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to fill, and move it into place if nothing fails."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _plain_values(origin: Mapping[str, Any]) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(json.dumps(dict(origin)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"origin must hold JSON values: {error}") from error
    return values


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_savable(model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise StorageError(f"{name!r} is state that is no tensor; it can't be saved safely")


Header = dict[str, tuple[tuple[int, ...], str]]


def _read_header(path: Path) -> Header:
    try:
        with safe_open(str(path), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: (tuple(s.get_shape()), s.get_dtype()) for n, s in slices.items()}
    except (OSError, SafetensorError) as error:
        raise StorageError(f"can't read {path}: {error}") from error


def _check_bank_sizes(recipe: Recipe, header: Header) -> None:
    # Before anything is allocated: a hostile recipe could ask for a bank larger than memory.
    for site in recipe.sites:
        name = "weight" if "experts" in site.settings else "alpha"
        shape, _ = header.get(f"{site.name}.{name}", ((), ""))
        count = site.settings.get("experts", site.settings.get("pieces"))
        if not shape or shape[0] != count:
            raise StorageError(f"the tensors of {site.name!r} don't match its recipe")
        squeeze = header.get(f"{site.name}.fc1.weight", ((0, 0), ""))[0]
        if site.channels is not None and squeeze[1:] != (site.channels,):
            raise StorageError(f"the tensors of {site.name!r} don't match its recipe")


def _check_tensors(model: nn.Module, header: Header, path: Path) -> None:
    everything = model.state_dict(keep_vars=True)
    state = {name: t for name, t in everything.items() if isinstance(t, Tensor)}
    stored = {id(tensor) for name, tensor in state.items() if name in header}
    for name, tensor in state.items():
        if name not in header:
            if id(tensor) in stored:
                continue  # safetensors stores a shared tensor once
            raise StorageError(f"{path} has no tensor {name!r}{suggest(name, header)}")
        shape, dtype = header[name]
        if shape != tuple(tensor.shape):
            raise StorageError(
                f"{path}: {name!r} has shape {list(shape)}, the model needs {list(tensor.shape)}"
            )
        if dtype != _DTYPES.get(tensor.dtype, dtype):
            raise StorageError(
                f"{path}: {name!r} was saved as {dtype}, the model has {tensor.dtype}: bring the "
                "static model to the saved precision first (for example model.half())"
            )
    for name in header:
        if name not in state:
            hint = suggest(name, state)
            raise StorageError(f"{path} holds {name!r}, which the model lacks{hint}")


@torch.no_grad()
def _copy_tensors(model: nn.Module, path: Path) -> None:
    # One tensor at a time: the whole file at once would double the memory of a large bank.
    state = model.state_dict()
    with safe_open(str(path), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            state[name].copy_(file.get_tensor(name))


_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
