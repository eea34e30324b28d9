"""The exact ONNX forms of a dynamic convolution: a table.

A new form is its own file and one line here.
"""

from __future__ import annotations

from typing import TypeAlias

from dynsurgeon.export.forms import depthwise, experts, grouped, matmul, plain, portable
from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.form import SiteForm
from dynsurgeon.export.forms.site import ConvSite

ConvForm: TypeAlias = SiteForm[ConvSite]

CONV_FORMS: dict[str, ConvForm] = {
    form.name: form
    for form in (
        ConvForm("depthwise", depthwise.obstacle, experts.emit),
        ConvForm("plain", plain.obstacle, plain.emit),
        ConvForm("matmul", matmul.obstacle, matmul.emit),
        ConvForm("grouped", grouped.obstacle, grouped.emit),
        ConvForm("experts", experts.obstacle, experts.emit),
        ConvForm("portable", portable.obstacle, portable.emit),
    )
}
"""The last two always fit, and have constant kernels."""

__all__ = ["CONV_FORMS", "ConvForm", "ConvSite", "Emitter"]
