"""Give every DY-ReLU the first form of those asked for that can stand there."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.lines import LINES_FORMS
from dynsurgeon.export.lines.site import LinesSite, is_lines


def lower_lines(model: ir.Model, preferred: Sequence[str]) -> int:
    """Replace every maximum of lines, and return how many there were.

    Args:
        model: The captured model, changed in place.
        preferred: Names of forms, the best first; the last one must fit everywhere.
    """
    nodes = [node for node in model.graph if is_lines(node)]
    for node in nodes:
        site = LinesSite.of(node)
        forms = [LINES_FORMS[name] for name in preferred]
        form = next(form for form in forms if form.obstacle(site) is None)
        emitter = Emitter(model.graph, node)
        emitter.replace_with(form.emit(site, emitter))
    return len(nodes)
