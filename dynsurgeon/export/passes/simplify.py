"""Fold constants and drop what does nothing, with onnxscript and onnx_ir.

Much like torch.onnx's own optimisation, but nothing depends on what a weight happens to be at the
start, where last layers are zero and equal: the graph that is verified with other weights is the
one that is written, and each weight keeps its own name.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir
import onnx_ir.passes.common as common
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.rules import common as rules

from dynsurgeon.export.passes.drop_zero_bias import drop_zero_bias
from dynsurgeon.export.passes.global_pool import use_global_pool
from dynsurgeon.export.passes.turn_weights import turn_weights

RULES = (
    *rules.mul_by_1_rule.commute(),
    *rules.add_0_rule.commute(),
    rules.sub_0_rule,
    rules.div_by_1_rule,
    rules.dropout_inference_rule,
    rules.dropout_zero_rule,
    rules.no_op_cast_rule,
    rules.no_op_expand_rule,
    rules.no_op_transpose_rule,
    rules.cast_cast_rule,
    rules.reshape_reshape_rule,
    rules.squeeze_reshape_1d_rule,
    rules.transpose_transpose_rule,
    rules.unsqueeze_unsqueeze_rule,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.materialize_reshape_shape_rule,
    rules.successive_relu_rule,
    rules.successive_clip_rule,
    rules.successive_clip_relu_rule,
    rules.successive_relu_clip_rule,
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    rules.fuse_batchnorm_into_gemm_rule,
)
"""Rewritings of onnxscript's that are exact whatever the weights are."""


def fold_computed(model: ir.Model, weights: Collection[str]) -> None:
    """Compute, once for all, what depends neither on inputs nor on the values of weights.

    Args:
        model: The model, changed in place.
        weights: Names of the initialisers that are weights.
    """

    def should_fold(node: ir.Node) -> bool | None:
        reads = any(value is not None and value.name in weights for value in node.inputs)
        return False if reads and node.op_type != "Shape" else None

    common.InlinePass()(model)
    fold_constants(model, onnx_shape_inference=True, should_fold=should_fold)
    drop_zero_bias(model, weights)
    common.RemoveUnusedNodesPass()(model)


def simplify(model: ir.Model, weights: Collection[str]) -> None:
    """Simplify a graph whose weights are final.

    Args:
        model: The model, changed in place.
        weights: Names of the initialisers that are weights.
    """
    turn_weights(model, weights)
    rewrite(model, RULES)
    fold_constants(model, onnx_shape_inference=True)
    use_global_pool(model)
    tidy = ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
        common.CommonSubexpressionEliminationPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.OutputFixPass(),
        common.NameFixPass(),
    )
    tidy(model)
