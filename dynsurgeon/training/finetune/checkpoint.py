"""Checkpoints: where a run stands, in files that appear whole or not at all.

``last.pt`` holds everything that training goes on from, ``best-dynamic.pt`` and ``best-static.pt``
the weights of each arm's best epoch. All are read with ``weights_only=True``: no code runs from
them.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from dynsurgeon.errors import StorageError
from dynsurgeon.files import staged_file
from dynsurgeon.messages import first_line
from dynsurgeon.recipe import recipe_of
from dynsurgeon.training.finetune.data import TrainingData
from dynsurgeon.training.finetune.settings import FinetuneSettings
from dynsurgeon.training.finetune.sharding import State

FORMAT = 1
LAST = "last.pt"
Identity = dict[str, Any]
"""What tells one training from another, as plain values."""
DAMAGE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    UnpicklingError,
    zipfile.BadZipFile,
)
"""What reading a damaged file can raise."""


class CheckpointFolder:
    """The checkpoints of one run, in a folder.

    Args:
        folder: Made at the first write.
        identity: What the run is of, as `identity_of` says it: plain JSON values.
    """

    def __init__(self, folder: Path, identity: Identity) -> None:
        self.folder, self.identity = folder, identity

    def has_last(self) -> bool:
        """Whether there is a checkpoint that training can go on from."""
        return (self.folder / LAST).exists()

    def require_empty(self) -> None:
        """Make sure that no earlier run would be overwritten.

        Raises:
            StorageError: There is one.
        """
        if self.has_last():
            raise StorageError(
                f"'{self.folder}' holds the checkpoints of an earlier run; resume it, or choose "
                "another folder"
            )

    def require_writable(self) -> None:
        """Make sure that files can be written here, and leave nothing behind.

        Raises:
            StorageError: They can't be.
        """
        folder = self.folder.absolute()
        place = next(path for path in (folder, *folder.parents) if path.exists())
        try:
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            raise StorageError(
                f"can't write '{self.folder}': '{place}': {error.strerror}"
            ) from error

    def write_last(self, state: State) -> None:
        """Replace the checkpoint that training goes on from.

        Raises:
            StorageError: It can't be written; the one before is still there.
        """
        self._write(LAST, {"format": FORMAT, "identity": self.identity, **state})

    def write_best(self, arm: str, weights: State) -> None:
        """Replace the weights of an arm's best epoch.

        Raises:
            StorageError: They can't be written; those before are still there.
        """
        self._write(f"best-{arm}.pt", weights)

    def read_last(self) -> State:
        """Read the checkpoint that training goes on from.

        Raises:
            StorageError: There is none, it is damaged, or it is of another run.
        """
        state = self._read(LAST)
        if state.get("format") != FORMAT:
            raise StorageError(f"'{self.folder / LAST}' is no checkpoint of format {FORMAT}")
        _check_identity(self.folder / LAST, state["identity"], self.identity)
        return state

    def read_best(self, arm: str) -> State:
        """Read the weights of an arm's best epoch.

        Raises:
            StorageError: They are missing or damaged.
        """
        return self._read(f"best-{arm}.pt")

    def _write(self, name: str, state: State) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for part in self.folder.glob(".*.pt.*"):  # of a write that was killed
                part.unlink(missing_ok=True)
            with staged_file(self.folder / name, lasting=True) as path, path.open("wb") as file:
                torch.save(state, file)
        except (OSError, RuntimeError) as error:
            hint = "; the checkpoint before it is intact, resume from that"
            hint = hint if self.has_last() else ""
            raise StorageError(
                f"can't write '{self.folder / name}': {_reason(error)}{hint}"
            ) from error

    def _read(self, name: str) -> State:
        path = self.folder / name
        try:
            if zipfile.ZipFile(path).testzip() is not None:  # torch checks no sums
                raise StorageError(f"'{path}' is damaged: its content is not what was written")
            state = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError as error:
            raise StorageError(f"there is no checkpoint '{path}' to resume from") from error
        except DAMAGE as error:
            raise StorageError(f"'{path}' is damaged: {first_line(error)}") from error
        if not isinstance(state, dict):
            raise StorageError(f"'{path}' is no checkpoint of dynsurgeon")
        return state


def identity_of(dynamic: nn.Module, data: TrainingData, settings: FinetuneSettings) -> Identity:
    """Say what a run is of: a checkpoint of anything else can't go on.

    Args:
        dynamic: The converted network as it is before the first step.
        data: What it is trained on.
        settings: How.
    """
    recipe = recipe_of(dynamic)
    return {
        "recipe": _digest_text(repr((recipe.sites, recipe.owners))),
        "weights": _digest_tensors(dynamic),
        "data": {"classes": list(data.classes), **_sizes(data), **data.facts},
        "settings": settings.of_result(),
    }


def _sizes(data: TrainingData) -> Identity:
    return {name: len(getattr(data, name)) for name in ("train", "val")}


def _check_identity(path: Path, stored: Identity, wanted: Identity) -> None:
    if stored["recipe"] != wanted["recipe"]:
        raise StorageError(f"'{path}' is of another recipe; start over, or elsewhere")
    if stored["weights"] != wanted["weights"]:
        raise StorageError(
            f"'{path}' is of a run that began with other weights; start over, or elsewhere"
        )
    for part in ("settings", "data"):
        before, now = stored[part], wanted[part]
        other = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        if other:
            key = other[0]
            raise StorageError(
                f"'{path}' is of a run with other {part}: {key} was {_short(before.get(key))}, now "
                f"it is {_short(now.get(key))}; resume with the same, or start over"
            )


def _reason(error: Exception) -> str:
    # torch's writer stumbles over a file that ends too soon, and hides what the system said.
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return first_line(error)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _digest_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_tensors(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            found.update(flat.view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
