"""From the captured graph to the one that is written: every pass, in order."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import onnx_ir as ir
from torch import Tensor

from dynsurgeon.export.capture import Captured
from dynsurgeon.export.forms.site import ConvSite, is_dynamic_conv
from dynsurgeon.export.passes.fold_batch_norm import fold_batch_norm
from dynsurgeon.export.passes.fold_temperature import fold_temperature
from dynsurgeon.export.passes.join_scales import join_scales
from dynsurgeon.export.passes.lower_convolutions import lower_convolutions
from dynsurgeon.export.passes.lower_lines import lower_lines
from dynsurgeon.export.passes.merge_scales import merge_scales
from dynsurgeon.export.passes.name_parts import name_parts
from dynsurgeon.export.passes.shrink_banks import shrink_banks
from dynsurgeon.export.passes.simplify import simplify
from dynsurgeon.export.passes.split_norm import split_norm
from dynsurgeon.export.signature import BATCH, Signature
from dynsurgeon.export.target import Target
from dynsurgeon.export.tensors import set_tensor
from dynsurgeon.graphs.filters import Filters
from dynsurgeon.graphs.native import lay_out
from dynsurgeon.graphs.scan_batch import scan_batch


def lower(
    captured: Captured,
    target: Target,
    signature: Signature,
    state: Mapping[str, Tensor] | None = None,
) -> ir.Model:
    """Return the graph to write; `captured` stays as it is.

    Args:
        captured: What `capture` returned.
        target: What the file is for.
        signature: Names of inputs and outputs.
        state: Weights to take instead of the captured ones, by their key in the state_dict.
    """
    model = captured.model.clone()
    constants = frozenset(model.graph.initializers) - captured.weights
    for key, tensor in (state or {}).items():
        if key in model.graph.initializers:
            set_tensor(model.graph.initializers[key], tensor)
    fold_temperature(model)
    fold_batch_norm(model)
    split_norm(model)
    merge_scales(model)
    keys = frozenset(model.graph.initializers) - constants
    lower_lines(model, target.lines)
    if target.quick:
        join_scales(model, in_blocks=target.form.native)
    sites = [ConvSite.of(node) for node in model.graph if is_dynamic_conv(node)]
    banks = {
        str(site.weight.name): Filters(prod(site.kernel_shape[1:]), kernels=len(site.bank))
        for site in sites
    }
    lower_convolutions(model, target.convolutions, target.sites)
    simplify(model, keys)
    name_parts(model, signature, keys)
    if target.form.native:
        model = lay_out(model)
    if target.scanned:
        scan_batch(model, BATCH if target.batch is None else target.batch)
    if target.rounding in ("half", "int8"):
        shrink_banks(model, banks, captured.heads, target.rounding)
    return model
