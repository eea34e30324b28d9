"""Directories that appear whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dynsurgeon.errors import StorageError, SurgeryError
from dynsurgeon.files import staged_folder

RECIPE, TENSORS, ONNX, RECEIPT = "recipe.json", "model.safetensors", "model.onnx", "receipt.json"
CHECKPOINTS = "checkpoints"
OURS = {RECIPE, TENSORS, ONNX, f"{ONNX}.data", RECEIPT, CHECKPOINTS}
"""What a directory written by `convert` or `finetune` holds."""


def default_directory(spec: str) -> Path:
    """Return ``./<model>-dynamic`` for the name of a model."""
    name = re.sub(r"\.py:", ":", spec.removeprefix("timm:")).replace(":", "-")
    return Path(re.sub(r"[^\w.-]+", "-", Path(name).name) + "-dynamic")


def check_free(directory: Path, *, force: bool) -> None:
    """Make sure that a directory can be written.

    Raises:
        StorageError: Something is there without `force`, or something that isn't ours.
    """
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir():
        raise StorageError(f"'{directory}' is in the way and no directory; choose another --output")
    if not force:
        raise StorageError(
            f"'{directory}' is already there; pass --force to replace it, or another --output"
        )
    strange = sorted(entry.name for entry in directory.iterdir() if entry.name not in OURS)
    if strange:
        raise StorageError(
            f"--force replaces only what dynsurgeon wrote, and '{directory}' holds {strange[0]!r} "
            "too; move that away, or choose another --output"
        )


@contextmanager
def staged_directory(directory: Path, *, force: bool = False) -> Iterator[Path]:
    """Give a temporary directory beside `directory`, and move it there at the end of the block.

    If the block raises, nothing is left behind and what was there before stays.

    Raises:
        StorageError: `directory` is in the way, or can't be written.
    """
    check_free(directory, force=force)
    target = directory.resolve()
    missing = [parent for parent in target.parents if not parent.exists()]
    stack = ExitStack()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = stack.enter_context(staged_folder(target))
    except OSError as error:
        _remove_empty(missing)
        raise StorageError(f"'{directory}' can't be written: {error.strerror}") from error
    try:
        with stack:
            yield staging
    except SurgeryError as error:  # its message may name a file by its temporary place
        error.args = (str(error).replace(str(staging), str(directory)), *error.args[1:])
        raise
    finally:
        _remove_empty(missing)


def _remove_empty(directories: list[Path]) -> None:
    for directory in directories:
        if directory.is_dir() and not any(directory.iterdir()):
            directory.rmdir()
