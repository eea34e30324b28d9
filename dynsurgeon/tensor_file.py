"""The tensors of a saved model: each written once, checked before it is believed, read one by one.

A tensor that a model has under several names (a module that is registered twice, tied weights) is
in the file under one of them: the first. Earlier versions took the first in the alphabet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dynsurgeon.errors import StorageError, suggest
from dynsurgeon.recipe import Recipe
from dynsurgeon.registry import layer_classes
from dynsurgeon.running.snapshot import overlaps, same_bits

Header = dict[str, tuple[tuple[int, ...], str]]
"""Shape and type of each tensor in a file, by its name."""

EXTRA = "_extra_state"
BATCH_NORMS = nn.modules.batchnorm._BatchNorm


def check_savable(model: nn.Module) -> None:
    """Raise `StorageError` if the state of `model` is more than parameters and buffers."""
    own = [*model.parameters(), *model.buffers()]
    known = {id(tensor) for tensor in own}
    for name, value in model.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor):
            raise StorageError(f"{name!r} is state that is no tensor; it can't be saved safely")
        if id(value) not in known and not _is_extra(name):
            raise StorageError(
                f"{name!r} is in the state_dict, but is no parameter and no buffer: it could be "
                "saved and not be loaded again"
            )


def write_tensors(model: nn.Module, path: Path) -> None:
    """Write the state of `model`, a tensor that has several names under the first of them."""
    names: dict[int, str] = {}
    stored: dict[str, Tensor] = {}
    memories: set[int] = set()
    state = model.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if names.setdefault(id(tensor), name) == name:
            stored[name] = _alone(tensor.detach(), memories)
    save_file(stored, str(path))


def check_written(model: nn.Module, recipe: Recipe, path: Path) -> None:
    """Raise `StorageError` unless `path` holds this very model, in a form that will load."""
    header = read_header(path)
    check_bank_sizes(model, recipe, header)
    check_tensors(model, header, path)
    state = model.state_dict(keep_vars=True)
    for name, tensor in _tensors(path):
        own = state[name].detach().cpu().contiguous()
        if not same_bits(own, tensor):
            raise StorageError(f"{name!r} is not in the file as it is in the model")


def read_header(path: Path) -> Header:
    """Read the names, shapes and types in a file.

    Raises:
        StorageError: It is missing or damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: (tuple(s.get_shape()), s.get_dtype()) for n, s in slices.items()}
    except (OSError, SafetensorError) as error:
        raise StorageError(f"can't read {path}: {error}") from error


def check_bank_sizes(model: nn.Module, recipe: Recipe, header: Header) -> None:
    """Raise `StorageError` unless every site's tensors have the sizes that its recipe asks for.

    To be called before anything is allocated: a hostile recipe could ask for a bank larger than
    memory.

    Args:
        model: The static model or the dynamic one; for the names that its modules have.
        recipe: The recipe.
        header: What the file holds.
    """
    aliases: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        aliases.setdefault(module, []).append(name)
    layers = layer_classes()
    for site in recipe.sites:
        names = [site.name, *_other_names(model, site.name, aliases)]
        layer = layers.get(site.operator)
        expected = {} if layer is None else layer.expected(site.settings, site.channels)
        for tensor, sizes in expected.items():
            shape = _shape(header, names, tensor)[: len(sizes)]
            if len(shape) != len(sizes) or any(
                size not in (-1, found) for size, found in zip(sizes, shape, strict=True)
            ):
                raise StorageError(f"the tensors of {site.name!r} don't match its recipe")


def check_tensors(model: nn.Module, header: Header, path: Path) -> None:
    """Raise `StorageError` unless a file holds the state of `model`, no more and no less."""
    everything = model.state_dict(keep_vars=True)
    state = {name: t for name, t in everything.items() if isinstance(t, Tensor)}
    stored = {id(tensor) for name, tensor in state.items() if name in header}
    for name, tensor in state.items():
        if name in header:
            _check_tensor(name, tensor, header, path)
        elif id(tensor) not in stored:
            hint = _folded(model, name, header) or suggest(name, header)
            raise StorageError(f"{path} has no tensor {name!r}{hint}")
    for name in header:
        if name not in state:
            hint = suggest(name, state)
            raise StorageError(f"{path} holds {name!r}, which the model lacks{hint}")


@torch.no_grad()
def read_tensors(model: nn.Module, path: Path) -> None:
    """Give `model` the tensors in a file that was checked."""
    state = model.state_dict(keep_vars=True)
    for name, tensor in _tensors(path):
        own = state[name]
        if _is_extra(name):
            module = model.get_submodule(name.rpartition(".")[0])
            module.set_extra_state(tensor.to(own.device))
        elif overlaps(own):  # an expanded tensor, which torch does not write into
            own.data = tensor.to(own.device)
        else:
            own.copy_(tensor)


def _tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    # One tensor at a time: the whole file at once would double the memory of a large bank.
    with safe_open(str(path), framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            yield name, file.get_tensor(name)


def _alone(tensor: Tensor, memories: set[int]) -> Tensor:
    """Return a tensor in memory that it fills and shares with none of those before."""
    tensor = tensor.contiguous()
    memory = tensor.untyped_storage()
    if memory.data_ptr() in memories or memory.nbytes() != tensor.nbytes:
        tensor = tensor.clone()
    memories.add(tensor.untyped_storage().data_ptr())
    return tensor


def _is_extra(name: str) -> bool:
    return name.rpartition(".")[2] == EXTRA


def _folded(model: nn.Module, name: str, header: Header) -> str:
    """Return what to do if the module of a missing tensor was folded away; else nothing."""
    place = name.rpartition(".")[0]
    gone = not any(stored.startswith(f"{place}.") for stored in header)
    if not gone or not isinstance(_module_at(model, place), BATCH_NORMS):
        return ""
    return (
        ": if the network was folded before it was saved (fuse() or the like), fold the static one "
        "in the same way and load onto that"
    )


def _shape(header: Header, names: list[str], tensor: str) -> tuple[int, ...]:
    keys = [key for key in (f"{name}.{tensor}" for name in names) if key in header]
    return header[keys[0]][0] if keys else ()


def _other_names(model: nn.Module, name: str, aliases: dict[nn.Module, list[str]]) -> Iterator[str]:
    # A new child is not there yet; its owner is, under all of its names.
    path, rest = name, ""
    while (module := _module_at(model, path)) is None:
        path, _, leaf = path.rpartition(".")
        rest = f".{leaf}{rest}"
    for alias in aliases[module]:
        yield f"{alias}{rest}".lstrip(".")


def _module_at(model: nn.Module, name: str) -> nn.Module | None:
    try:
        return model.get_submodule(name)
    except AttributeError:
        return None


def _check_tensor(name: str, tensor: Tensor, header: Header, path: Path) -> None:
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
