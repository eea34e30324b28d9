"""Which activation a candidate is."""

from __future__ import annotations

from dynsurgeon.operators.forms import ActivationForm
from dynsurgeon.operators.static import describe_activation, describe_function
from dynsurgeon.surgery.sites.candidates import Candidate


def activation_form(candidate: Candidate) -> ActivationForm:
    """Say which activation a candidate is, from its module or from its call's arguments."""
    if candidate.module is not None:
        return describe_activation(candidate.module)
    site = candidate.sites[0]
    name = site.key.label.removeprefix("function:")
    if name == "leaky_relu":
        slope = site.kwargs.get("negative_slope", site.args[1] if len(site.args) > 1 else 0.01)
        return describe_function(name, slope)
    if name == "gelu":
        return describe_function(name, approximate=site.kwargs.get("approximate", "none"))
    return describe_function(name)
