"""The exact ONNX forms of a DY-ReLU's maximum of lines: a table.

A new form is its own file and one line here.
"""

from __future__ import annotations

from typing import TypeAlias

from dynsurgeon.export.forms.form import SiteForm
from dynsurgeon.export.lines import elementwise, normalised, pointwise
from dynsurgeon.export.lines.site import LinesSite

LinesForm: TypeAlias = SiteForm[LinesSite]

LINES_FORMS: dict[str, LinesForm] = {
    form.name: form
    for form in (
        LinesForm("pointwise", pointwise.obstacle, pointwise.emit),
        LinesForm("grouped", pointwise.obstacle_outside_blocks, pointwise.emit),
        LinesForm("normalised", normalised.obstacle, normalised.emit),
        LinesForm("elementwise", elementwise.obstacle, elementwise.emit),
    )
}

__all__ = ["LINES_FORMS", "LinesForm", "LinesSite"]
