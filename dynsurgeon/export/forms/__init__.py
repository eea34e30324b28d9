"""The exact ONNX forms of a dynamic convolution: a table.

A new form is its own file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from dynsurgeon.export.forms import experts, grouped, matmul, plain, portable
from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.site import ConvSite


@dataclass(frozen=True)
class ConvForm:
    """One way to write a dynamic convolution in ONNX.

    Attributes:
        name: Its name in the table.
        obstacle: Says why the form can't stand at a site; None where it can.
        emit: Writes its nodes and returns their output.
    """

    name: str
    obstacle: Callable[[ConvSite], str | None]
    emit: Callable[[ConvSite, Emitter], ir.Value]


CONV_FORMS: dict[str, ConvForm] = {
    form.name: form
    for form in (
        ConvForm("plain", plain.obstacle, plain.emit),
        ConvForm("matmul", matmul.obstacle, matmul.emit),
        ConvForm("grouped", grouped.obstacle, grouped.emit),
        ConvForm("experts", experts.obstacle, experts.emit),
        ConvForm("portable", portable.obstacle, portable.emit),
    )
}
"""The last two always fit, and have constant kernels."""

__all__ = ["CONV_FORMS", "ConvForm", "ConvSite", "Emitter"]
