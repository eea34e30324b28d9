"""What a file says of itself: its recipe, how images are prepared for it, and names of classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from dynsurgeon.errors import StorageError

RECIPE_KEY = "dynsurgeon.recipe"
"""Key of the recipe, as JSON, in a file's metadata."""

PREPROCESSING_KEY = "dynsurgeon.preprocessing"
"""Key of `Preprocessing`, as JSON."""

LABELS_KEY = "dynsurgeon.labels"
"""Key of the classes' names, as JSON."""

FORM_KEY = "dynsurgeon.form"
"""Key of the file's form."""

TARGET_KEY = "dynsurgeon.target"
"""Key of what the file was written for, where a target was named."""

PRECISION_KEY = "dynsurgeon.precision"
"""Key of the precision that a file computes in, where that is not the network's."""

BANK_KEY = "dynsurgeon.banks"
"""Key of the type of stored kernel banks, where that is not the network's."""


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the network sees it.

    Attributes:
        height: Rows.
        width: Columns.
        mean: Subtracted from the values in [0, 1], by channel or one for all.
        std: Then divided by, likewise.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Preprocessing:
        """Check plain JSON values.

        Raises:
            StorageError: They are no preprocessing.
        """
        try:
            height, width = int(values["height"]), int(values["width"])
            mean, std = (tuple(map(float, values[name])) for name in ("mean", "std"))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"not a valid preprocessing: {values!r}") from error
        sound = min(height, width) > 0 and all(map(isfinite, mean)) and all(s > 0 for s in std)
        if not sound or len(mean) != len(std) or len(mean) not in (1, 3):
            raise StorageError(f"not a valid preprocessing: {values!r}")
        return cls(height, width, mean, std)


def to_metadata(
    preprocessing: Mapping[str, Any] | None, labels: Sequence[str] | None
) -> dict[str, str]:
    """Return what is known as entries of a file's metadata."""
    found = {PREPROCESSING_KEY: preprocessing, LABELS_KEY: labels}
    return {key: json.dumps(value) for key, value in found.items() if value is not None}


def recipe_in(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the recipe by which a file's network became dynamic, or None.

    Raises:
        StorageError: It is damaged.
    """
    found = _read(metadata, RECIPE_KEY, dict)
    return dict(found) if found is not None else None


def preprocessing_in(metadata: Mapping[str, str]) -> Preprocessing | None:
    """Return how images are prepared, where the file knows.

    Raises:
        StorageError: It is damaged.
    """
    found = _read(metadata, PREPROCESSING_KEY, dict)
    return None if found is None else Preprocessing.of(found)


def labels_in(metadata: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the names of the classes, where the file knows them.

    Raises:
        StorageError: They are damaged.
    """
    found = _read(metadata, LABELS_KEY, list)
    return None if found is None else tuple(map(str, found))


def _read(metadata: Mapping[str, str], key: str, kind: type) -> Any:
    if key not in metadata:
        return None
    try:
        value = json.loads(metadata[key])
    except ValueError as error:
        raise StorageError(f"the file's metadata {key!r} is damaged: {error}") from error
    if not isinstance(value, kind):
        raise StorageError(f"the file's metadata {key!r} is damaged: not a {kind.__name__}")
    return value
