"""Directories that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dynsurgeon.errors import StorageError, SurgeryError
from dynsurgeon.files import staged_folder

RECIPE, TENSORS, ONNX, RECEIPT = "recipe.json", "model.safetensors", "model.onnx", "receipt.json"
CHECKPOINTS, LOGS, REPORT, INSPECTION = "checkpoints", "logs", "report.html", "inspection"
INT8 = "model.int8.onnx"
FILES = {RECIPE, TENSORS, ONNX, f"{ONNX}.data", RECEIPT, INT8, REPORT}
OURS = FILES | {CHECKPOINTS, LOGS, INSPECTION}
"""What a directory written by `convert_to_directory`, or by the command line, holds."""


@dataclass(frozen=True)
class Words:
    """What messages call the ways out.

    Attributes:
        replace: How to replace what is there.
        elsewhere: How to write to another place.
    """

    replace: str
    elsewhere: str


PYTHON = Words("force=True", "another directory")


def check_free(directory: Path, *, force: bool, words: Words = PYTHON) -> None:
    """Make sure that a directory can be written.

    Raises:
        StorageError: Something is there without `force`, or something that isn't ours.
    """
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir():
        raise StorageError(
            f"'{directory}' is in the way and no directory; choose {words.elsewhere}"
        )
    if not force:
        raise StorageError(
            f"'{directory}' is already there; pass {words.replace} to replace it, or "
            f"{words.elsewhere}"
        )
    strange = sorted(entry.name for entry in directory.iterdir() if entry.name not in OURS)
    if strange:
        raise StorageError(
            f"{words.replace} replaces only what dynsurgeon wrote, and '{directory}' holds "
            f"{strange[0]!r} too; move that away, or choose {words.elsewhere}"
        )


@contextmanager
def staged_directory(
    directory: Path, *, force: bool = False, words: Words = PYTHON
) -> Iterator[Path]:
    """Give a temporary directory beside `directory`, and move it there at the end of the block.

    If the block raises, nothing is left behind and what was there before stays.

    Raises:
        StorageError: `directory` is in the way, or can't be written.
    """
    check_free(directory, force=force, words=words)
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
