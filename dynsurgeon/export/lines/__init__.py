"""The exact ONNX forms of a DY-ReLU's maximum of lines: a table.

A new form is its own file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines import elementwise, pointwise
from dynsurgeon.export.lines.site import LinesSite


@dataclass(frozen=True)
class LinesForm:
    """One way to write a maximum of lines in ONNX.

    Attributes:
        name: Its name in the table.
        obstacle: Says why the form can't stand at a site; None where it can.
        emit: Writes its nodes and returns their output.
    """

    name: str
    obstacle: Callable[[LinesSite], str | None]
    emit: Callable[[LinesSite, Emitter], ir.Value]


LINES_FORMS: dict[str, LinesForm] = {
    form.name: form
    for form in (
        LinesForm("pointwise", pointwise.obstacle, pointwise.emit),
        LinesForm("elementwise", elementwise.obstacle, elementwise.emit),
    )
}

__all__ = ["LINES_FORMS", "LinesForm", "LinesSite"]
