"""What a report tells of: everything that a directory holds beside its tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynsurgeon.errors import StorageError
from dynsurgeon.recipe import Recipe
from dynsurgeon.storage import read_recipe
from dynsurgeon.workflow.directory import INSPECTION, RECEIPT
from dynsurgeon.workflow.receipt import read_receipt

FINDINGS = "findings.json"
"""What an inspection writes beside its pictures."""


@dataclass(frozen=True)
class Contents:
    """What was found in a directory.

    Attributes:
        name: Its name.
        recipe: The recipe.
        receipt: ``receipt.json``.
        inspection: What `inspect` left in it, or None.
    """

    name: str
    recipe: Recipe
    receipt: Mapping[str, Any]
    inspection: Mapping[str, Any] | None = None

    @property
    def model(self) -> str:
        """What the network is called."""
        origin = self.recipe.origin or {}
        return str(origin.get("model") or self.name)

    @property
    def parity(self) -> Mapping[str, Any] | None:
        """The proof of the conversion, whether the network was trained since or not."""
        found = self.receipt.get("torch") or (self.receipt.get("start") or {}).get("torch")
        return dict(found) if found else None

    @property
    def training(self) -> Mapping[str, Any] | None:
        """What fine-tuning measured."""
        found = self.receipt.get("finetuned")
        return dict(found) if found else None


def read_contents(directory: Path) -> Contents:
    """Read what a report tells of; no tensor is loaded.

    Raises:
        StorageError: The directory is not one of ours, or a file in it is damaged.
    """
    if not directory.is_dir():
        raise StorageError(f"there is no directory '{directory}'")
    recipe = read_recipe(directory)
    receipt = read_receipt(directory)
    if not receipt:
        raise StorageError(
            f"'{directory / RECEIPT}' is missing or damaged, and a report is made from it; convert "
            "the network again"
        )
    return Contents(directory.resolve().name, recipe, receipt, _inspection(directory))


def _inspection(directory: Path) -> Mapping[str, Any] | None:
    path = directory / INSPECTION / FINDINGS
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"'{path}' is damaged: {error}; inspect again") from error
    return found if isinstance(found, dict) else None
