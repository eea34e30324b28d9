"""The work of ``verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynsurgeon.errors import ParityError
from dynsurgeon.export import ExportResult, verify_onnx
from dynsurgeon.export.result import RuntimeProof
from dynsurgeon.recipe import recipe_of

from ..output import ONNX
from .loading import Subject


def verify_directory(
    directory: Path, subject: Subject, runtimes: Sequence[str] = ()
) -> dict[str, Any]:
    """Compare the ONNX file in `directory`, if there is one, with the network loaded from there.

    Args:
        directory: Where the file lies.
        subject: The network.
        runtimes: Runtimes beside onnxruntime in which it is compared too.

    Raises:
        RuntimeRefusalError: A runtime can't load or run the file.
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
    result = verify_onnx(subject.model, path, subject.inputs, runtimes=runtimes)
    proofs: list[ExportResult | RuntimeProof] = [result, *result.runtimes]
    failed = next((proof for proof in proofs if not _passed(proof)), None)
    if failed is not None:
        where = f" in {failed.name}" if isinstance(failed, RuntimeProof) else ""
        raise ParityError(
            f"'{path}' does not compute what the network does{where}: "
            f"max difference {failed.max_rel:.2g}"
            f"{next((check.verdict for check in failed.checks if not check.passed), '')}",
            result,
        )
    return {**document, "onnx": {**result.to_dict(), "path": ONNX}}


def _passed(proof: ExportResult | RuntimeProof) -> bool:
    return all(check.passed for check in proof.checks)
