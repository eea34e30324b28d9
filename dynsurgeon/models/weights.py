"""Where a model's weights come from: its own servers, a file, or chance by explicit request.

Weights that can't be had are an error that names the ways out; random weights are never put in
their place.
"""

from __future__ import annotations

import importlib
import io
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dynsurgeon.errors import WeightsError, suggest
from dynsurgeon.messages import one_line
from dynsurgeon.running.quiet import printing_to

DEFAULT = "DEFAULT"
RANDOM = "random"
WAYS_OUT = "pass --weights FILE for a file that you have, or --weights random to do without"

SUFFIXES = {".pth", ".pt", ".bin", ".ckpt", ".safetensors"}
WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
PREFIXES = ("module.", "_orig_mod.", "model.")
PATIENCE = 15.0
"""Seconds without an answer after which a download counts as failed."""
LISTED = 4
"""Keys that an error message lists of each kind."""


@dataclass(frozen=True)
class WeightsChoice:
    """What the user's ``--weights`` stands for.

    Attributes:
        kind: ``"default"``, ``"random"``, ``"name"`` or ``"file"``.
        value: The name or the path, for the last two.
    """

    kind: Literal["default", "random", "name", "file"]
    value: str = ""


def choose_weights(weights: str | None, names: Iterable[str], model: str) -> WeightsChoice:
    """Say what `weights` stands for, given the `names` of the weights that `model` has.

    Raises:
        WeightsError: It is neither a name of weights nor a file.
    """
    known = {name.lower(): name for name in names}
    if weights is None or weights.lower() == DEFAULT.lower():
        return WeightsChoice("default")
    if weights.lower() == RANDOM:
        return WeightsChoice("random")
    if weights.lower() in known:
        return WeightsChoice("name", known[weights.lower()])
    path = Path(weights).expanduser()
    if path.is_file():
        return WeightsChoice("file", str(path))
    if path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
        raise WeightsError(f"there is no weights file {weights!r}")
    choices = ", ".join([DEFAULT, *known.values(), RANDOM])
    hint = suggest(weights.upper(), known.values(), count=1)
    raise WeightsError(
        f"{weights!r} is neither weights of {model} ({choices}) nor the name of a file{hint}"
    )


@contextmanager
def downloading(model: str) -> Iterator[None]:
    """Turn whatever stops a download within the block into a `WeightsError` with the ways out."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        with printing_to(sys.stderr if sys.stderr.isatty() else io.StringIO()):
            yield
    except (OSError, HTTPException, EOFError, UnpicklingError, RuntimeError) as error:
        if "size mismatch" in str(error):
            raise WeightsError(
                f"the weights of {model} don't fit the model's arguments; {WAYS_OUT}"
            ) from error
        raise WeightsError(
            f"the weights of {model} can't be had ({one_line(error)}); {WAYS_OUT}"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)


@contextmanager
def hub_fails_fast() -> Iterator[None]:
    """Set Hugging Face's hub offline where its name can't be resolved; it retries for a minute."""
    constants = importlib.import_module("huggingface_hub.constants")
    before = constants.HF_HUB_OFFLINE
    reached = getproxies() or _resolves(urlsplit(constants.ENDPOINT).hostname)
    setattr(constants, "HF_HUB_OFFLINE", before or not reached)  # noqa: B010
    try:
        yield
    finally:
        setattr(constants, "HF_HUB_OFFLINE", before)  # noqa: B010


def _resolves(host: str | None) -> bool:
    try:
        return bool(socket.getaddrinfo(host, "https"))
    except OSError:
        return False


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load the state_dict in a file into `model`, in place.

    Args:
        model: The network to fill.
        path: ``.safetensors``, or anything that `torch.load` reads with ``weights_only=True``; bare
            or within a `WRAPPERS` key, with or without one of the `PREFIXES`.

    Raises:
        WeightsError: The file is missing, damaged, holds more than tensors, or doesn't fit.
    """
    state = read_state_dict(path)
    own = model.state_dict()
    state = _without_prefix(state, own)
    shapes = [
        f"{key} {list(tensor.shape)} instead of {list(own[key].shape)}"
        for key, tensor in state.items()
        if isinstance(own.get(key), Tensor) and own[key].shape != tensor.shape
    ]
    if shapes:
        raise _mismatch(path, {"of another shape": shapes})
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise _mismatch(path, {"missing": missing, "unexpected": unexpected})


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file, without running any code from it.

    Raises:
        WeightsError: The file is missing, damaged, or holds more than tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no weights file '{path}'")
    content = _unwrap(_read(path))
    strange = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if not content or len(strange) == len(content):
        raise WeightsError(f"'{path}' holds no state_dict: no tensor by a parameter's name")
    if strange:
        raise _mismatch(path, {"that are no tensors": strange})
    return content


def _read(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(
            f"'{path}' is damaged or holds more than tensors, which could run code; "
            "save `model.state_dict()` to it"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"'{path}' can't be read as weights ({one_line(error)})") from error


def _unwrap(content: Any) -> dict[str, Any]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            return dict(content)
        content = inner[0]
    return {}


def _without_prefix(state: dict[str, Tensor], own: Mapping[str, Any]) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state) and not all(key in own for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _mismatch(path: str | Path, problems: Mapping[str, list[str]]) -> WeightsError:
    parts = [
        f"{len(keys)} {what} ({', '.join(keys[:LISTED])}{', …' if len(keys) > LISTED else ''})"
        for what, keys in problems.items()
        if keys
    ]
    return WeightsError(f"the weights in '{path}' don't fit the model: {'; '.join(parts)}")
