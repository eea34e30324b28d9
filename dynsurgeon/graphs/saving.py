"""Write an ONNX file and put it under its name once it is known to be good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import onnx_ir as ir

from dynsurgeon.errors import ConfigError, StorageError
from dynsurgeon.files import folder_beside
from dynsurgeon.graphs.initializers import weight_bytes


def save_model(model: ir.Model, path: Path, limit: int) -> None:
    """Write a model; weights of more than `limit` bytes go to ``<name>.data`` beside it."""
    large = weight_bytes(model) > limit
    ir.save(model, path, external_data=data_path(path).name if large else None)


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
