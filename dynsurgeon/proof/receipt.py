"""The receipt of a parity check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from dynsurgeon.html_table import html_table

TOLERANCES = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference relative to the largest output that still counts as the same function.

The half-precision values allow for the sums of roundings of a deep network; on an exact start the
differences measured are several times smaller."""


@dataclass(frozen=True)
class SiteParity:
    """How far a dynamic module is from the static call that it replaced.

    Attributes:
        name: Dotted name of the dynamic module.
        mode: ``"eval"`` or ``"train"``.
        max_abs: Largest absolute difference of its outputs.
        max_rel: The same over the largest absolute output of the original.
    """

    name: str
    mode: str
    max_abs: float
    max_rel: float


@dataclass(frozen=True)
class Receipt:
    """The original against the converted model, on fresh inputs.

    Attributes:
        passed: Whether every mode's outputs agree to `tolerance`, and the gradients to theirs.
        max_abs: Largest absolute difference of the outputs.
        max_rel: The same over the largest absolute output of the original.
        tolerance: Largest `max_rel` that passes, by the outputs' precision.
        output_rel: `max_rel` by mode, for the modes that were compared.
        sites: The differences at every replaced site that ran, in every mode.
        notes: What could not be compared, and why.
        gradient_rel: Largest difference of the gradients of what both models share, in train mode,
            relative to that gradient's largest number; None if none were compared.
    """

    passed: bool
    max_abs: float
    max_rel: float
    tolerance: float
    output_rel: dict[str, float]
    sites: tuple[SiteParity, ...]
    notes: tuple[str, ...] = ()
    gradient_rel: float | None = None

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that were compared."""
        return tuple(self.output_rel)

    def to_dict(self) -> dict[str, Any]:
        """Return the receipt as plain JSON values."""
        return asdict(self)

    def worst_sites(self, count: int = 5) -> list[SiteParity]:
        """Return the sites that are farthest from their originals."""
        return sorted(self.sites, key=lambda site: -site.max_rel)[:count]

    def _repr_html_(self) -> str:
        title, *_ = str(self).splitlines()
        rows = [
            (site.name, site.mode, f"{site.max_abs:.3g}", f"{site.max_rel:.3g}")
            for site in self.worst_sites(10)
        ]
        header = ("farthest sites", "mode", "max abs", "max rel")
        return html_table(header, rows, title=title, notes=self.notes)

    def __str__(self) -> str:
        word = "passed" if self.passed else "FAILED"
        line = (
            f"parity {word}: max abs {self.max_abs:.3g}, max rel {self.max_rel:.3g} "
            f"(tolerance {self.tolerance:g}) in {' and '.join(self.modes)} mode, "
            f"{len({site.name for site in self.sites})} sites"
        )
        if self.gradient_rel is not None:
            line += f", gradients to {self.gradient_rel:.3g}"
        return "\n".join([line, *(f"note: {note}" for note in self.notes)])
