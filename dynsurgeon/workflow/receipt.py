"""``receipt.json``: what was done to a network, what was measured, and with which versions."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dynsurgeon.files import staged_file
from dynsurgeon.surgery.decide.planned import Plan
from dynsurgeon.workflow.directory import RECEIPT

PACKAGES = ("dynsurgeon", "torch", "torchvision", "onnx", "onnxscript", "onnxruntime")
Document = dict[str, Any]


def write_receipt(directory: Path, document: Document) -> None:
    """Write ``receipt.json``."""
    text = json.dumps(document, indent=2, allow_nan=False)
    with staged_file(directory / RECEIPT) as path:
        path.write_text(text + "\n", encoding="utf-8")


def update_receipt(directory: Path, changes: Document) -> None:
    """Replace entries of the ``receipt.json`` that lies in `directory`, if one does."""
    document = read_receipt(directory)
    if document:
        known = document.get("versions") or {}
        write_receipt(directory, {**document, **changes, "versions": {**known, **versions()}})


def read_receipt(directory: Path) -> Document:
    """Read the ``receipt.json`` that lies in `directory`; nothing if there is none to read."""
    try:
        document = json.loads((directory / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def versions() -> dict[str, str]:
    """Return the versions of everything that had a part in it."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def costs(plan: Plan) -> Document:
    """Return what the network costs before and after."""
    return {
        "sites": len(plan.sites),
        "converted": len(plan.converted),
        "params_before": plan.params_before,
        "params_after": plan.params_after,
        "macs_before": plan.macs_before,
        "macs_after": plan.macs_after,
        **({} if plan.latency is None else {"latency": asdict(plan.latency)}),
    }
