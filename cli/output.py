"""Directories that appear whole or not at all, in the words of the command line."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

from dynsurgeon.workflow import directory as library
from dynsurgeon.workflow.directory import (
    CHECKPOINTS,
    INSPECTION,
    INT8,
    LOGS,
    ONNX,
    OURS,
    RECEIPT,
    RECIPE,
    REPORT,
    TENSORS,
)

__all__ = [
    "CHECKPOINTS",
    "INSPECTION",
    "INT8",
    "LOGS",
    "ONNX",
    "OURS",
    "RECEIPT",
    "RECIPE",
    "REPORT",
    "TENSORS",
]

WORDS = library.Words("--force", "another --output")


def default_directory(spec: str) -> Path:
    """Return ``./<model>-dynamic`` for the name of a model."""
    name = re.sub(r"\.py:", ":", spec.removeprefix("timm:")).replace(":", "-")
    return Path(re.sub(r"[^\w.-]+", "-", Path(name).name) + "-dynamic")


def check_free(directory: Path, *, force: bool) -> None:
    """Make sure that a directory can be written; see `workflow.directory.check_free`.

    Raises:
        StorageError: Something is there without `force`, or something that isn't ours.
    """
    library.check_free(directory, force=force, words=WORDS)


def staged_directory(directory: Path, *, force: bool = False) -> AbstractContextManager[Path]:
    """Give a temporary directory; see `workflow.directory.staged_directory`.

    Raises:
        StorageError: `directory` is in the way, or can't be written.
    """
    return library.staged_directory(directory, force=force, words=WORDS)
