"""The work of ``verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dynsurgeon.errors import ParityError
from dynsurgeon.export import verify_onnx
from dynsurgeon.recipe import recipe_of

from ..output import ONNX
from .loading import Subject


def verify_directory(directory: Path, subject: Subject) -> dict[str, Any]:
    """Compare the ONNX file in `directory`, if there is one, with the network loaded from there.

    Raises:
        ParityError: The file computes something else.
        StorageError: The file can't be read as ONNX.
    """
    document: dict[str, Any] = {
        "model": subject.origin,
        "sites": len(recipe_of(subject.model).sites),
        "passed": True,
        "onnx": None,
    }
    path = directory / ONNX
    if not path.exists():
        return document
    result = verify_onnx(subject.model, path, subject.inputs)
    if not result.passed:
        raise ParityError(
            f"'{path}' does not compute what the network does: max difference {result.max_rel:.2g}"
            f"{next((check.verdict for check in result.checks if not check.passed), '')}",
            result,
        )
    return {**document, "onnx": {**result.to_dict(), "path": ONNX}}
