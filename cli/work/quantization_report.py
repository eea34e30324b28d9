"""What is told of a quantised file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told(document: Mapping[str, Any]) -> list[str]:
    """Return lines on what computes in 8 bits, how good it is, how fast and how large."""
    before, after = document["accuracy_before"], document["accuracy_after"]
    same, images = document["agreement"], document["images"]
    smaller = document["bytes_after"] / document["bytes_before"]
    lines = [
        f"wrote {document['path']}: {document['layers']} layers in 8 bits, "
        f"{document['float_layers']} in single precision",
        f"same answer on {same:.1%} of {images} images, max difference {document['max_rel']:.2g}",
    ]
    if before is not None and after is not None:
        lines.append(f"top-1 accuracy {before:.2%} before, {after:.2%} after")
    lines += [
        f"{document['speed_ratio']:.2f} times the time of {document['reference']} at batch 1",
        f"{smaller:.2f} times its bytes: {document['bytes_after'] / 1e6:.1f} MB instead of "
        f"{document['bytes_before'] / 1e6:.1f}",
    ]
    return [*lines, *(f"note: {note}" for note in document["notes"])]
