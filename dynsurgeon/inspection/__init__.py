"""What each dynamic site does with data: as values, to be drawn or counted."""

from dynsurgeon.inspection.results import (
    Curves,
    Factor,
    Inspection,
    KernelUse,
    Places,
    SiteInspection,
)
from dynsurgeon.inspection.run import inspect

__all__ = ["Curves", "Factor", "Inspection", "KernelUse", "Places", "SiteInspection", "inspect"]
