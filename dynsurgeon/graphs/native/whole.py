"""Lay out the graph of a file, whichever batch it is for."""

from __future__ import annotations

import onnx_ir as ir

from dynsurgeon.graphs.native.experts import experts_to_convolutions
from dynsurgeon.graphs.native.guard import block_width
from dynsurgeon.graphs.native.layout import lay_out
from dynsurgeon.graphs.native.lines import lines_to_convolutions
from dynsurgeon.graphs.native.memory import BLOCKS
from dynsurgeon.graphs.scan_batch import scan_batch
from dynsurgeon.graphs.unpack_banks import unpack_banks
from dynsurgeon.graphs.unscan import unscan


def lay_out_whole(model: ir.Model) -> ir.Model:
    """Return the graph of a file in the layout of this CPU.

    Args:
        model: A file of form *scan*, *plain* or *portable*, changed in place.

    Raises:
        ExportError: onnxruntime can't load it, or it is too large to hand over.
    """
    return laid_out(model, single_sample(model))


def single_sample(model: ir.Model) -> str | int | None:
    """Make the graph one of single samples; return the batch of its Scan, or None without one."""
    batch = unscan(model)
    unpack_banks(model.graph)
    return batch


def laid_out(model: ir.Model, batch: str | int | None) -> ir.Model:
    """Return the layout of what `single_sample` made, with its Scan again."""
    prepared = model.clone()
    if block_width() in BLOCKS:
        lines_to_convolutions(prepared.graph)
        experts_to_convolutions(prepared.graph)
    laid = lay_out(prepared)
    laid.metadata_props.update(model.metadata_props)
    laid.producer_name, laid.producer_version = model.producer_name, model.producer_version
    if batch is not None:
        scan_batch(laid, batch)
    return laid
