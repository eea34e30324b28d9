"""Give every dynamic convolution the first form of those asked for that can stand there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from dynsurgeon.errors import ExportError
from dynsurgeon.export.forms import CONV_FORMS, ConvForm
from dynsurgeon.export.forms.emitter import Emitter
from dynsurgeon.export.forms.site import ConvSite, is_dynamic_conv
from dynsurgeon.export.node import DOMAIN


def lower_convolutions(
    model: ir.Model, preferred: Sequence[str], chosen: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Replace every dynamic convolution, and return how many sites got which form.

    Args:
        model: The captured model, changed in place.
        preferred: Names of forms, the best first.
        chosen: Names of forms by the name of a bank, to try before those.

    Raises:
        ExportError: None of the forms can stand at a site.
    """
    counts: dict[str, int] = {}
    for node in [node for node in model.graph if is_dynamic_conv(node)]:
        site = ConvSite.of(node)
        own = (chosen or {}).get(str(site.weight.name))
        form = choose_form(site, preferred if own is None else [own, *preferred])
        emitter = Emitter(model.graph, node)
        emitter.replace_with(form.emit(site, emitter))
        counts[form.name] = counts.get(form.name, 0) + 1
    model.graph.opset_imports.pop(DOMAIN, None)
    return counts


def choose_form(site: ConvSite, preferred: Sequence[str]) -> ConvForm:
    """Return the first form that can stand at a site.

    Raises:
        ExportError: None can.
    """
    obstacles = []
    for name in preferred:
        obstacle = CONV_FORMS[name].obstacle(site)
        if obstacle is None:
            return CONV_FORMS[name]
        obstacles.append(f"{name} {obstacle}")
    raise ExportError(f"no form fits {site.weight.name}: {'; '.join(obstacles)}")
