"""Lay a graph of one sample out as onnxruntime's CPU provider runs constant kernels fastest.

With a computed kernel onnxruntime falls back to its slow convolutions: 2 to 5 times the time of the
fast ones, depthwise above all. Nothing in those needs a constant, only the rewriting does. So the
rewriting is done on stand-ins, and the computed kernels are put back in the layout that these got.

The file then holds onnxruntime's own operators and suits CPUs with blocks of the same width; it
checks that itself (see `guard`).
"""

from __future__ import annotations

import onnx_ir as ir
import onnx_ir.passes.common as common

from dynsurgeon.graphs.native.graft import graft
from dynsurgeon.graphs.native.guard import block_width, insert_guard
from dynsurgeon.graphs.native.optimise import NCHWC, optimise
from dynsurgeon.graphs.native.pools import drop_pool_reorders
from dynsurgeon.graphs.native.rolls import drop_roll_reorders
from dynsurgeon.graphs.native.standins import insert_stand_ins


def lay_out(model: ir.Model) -> ir.Model:
    """Return the graph in the layout of this CPU.

    Args:
        model: A named graph of one sample, every convolution of which is in form *plain*.

    Returns:
        Another model; one that onnxruntime found nothing to lay out in is optimised, no more.

    Raises:
        ExportError: onnxruntime can't load it, or it is too large to hand over.
    """
    skip: set[str] = set()
    while True:
        optimised, failed = _attempt(model, skip)
        if not failed:
            break
        skip |= set(failed)
    if any(node.domain == NCHWC for node in optimised.graph):
        drop_pool_reorders(optimised.graph, block_width())
        drop_roll_reorders(optimised.graph, block_width())
        insert_guard(optimised.graph, block_width())
    common.RemoveUnusedNodesPass()(optimised)
    common.RemoveUnusedOpsetsPass()(optimised)
    return optimised


def _attempt(model: ir.Model, skip: set[str]) -> tuple[ir.Model, list[str]]:
    """Lay out with stand-ins for all computed kernels but `skip`; also say which were lost."""
    prepared = model.clone()
    count = len(prepared.graph.outputs)
    stand_ins = insert_stand_ins(prepared, skip)
    optimised = optimise(prepared)
    failed = graft(optimised, stand_ins)
    del optimised.graph.outputs[count:]
    optimised.graph.sort()  # what a kernel is computed from may come after its convolution
    optimised.graph.name = model.graph.name
    return optimised, failed
