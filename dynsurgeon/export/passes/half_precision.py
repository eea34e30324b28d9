"""The whole graph in half precision, for GPUs; inputs and outputs stay as they are."""

from __future__ import annotations

import onnx_ir as ir
from onnxruntime.transformers.float16 import convert_float_to_float16


def to_half(model: ir.Model) -> ir.Model:
    """Return a model that computes in half precision, with a Cast at each end.

    Args:
        model: The finished model in single precision; it is given up.
    """
    # onnxruntime would keep the maximum of a DY-ReLU in single precision, for old versions of it.
    proto = convert_float_to_float16(
        ir.to_proto(model), keep_io_types=True, disable_shape_infer=True, op_block_list=[]
    )
    half: ir.Model = ir.from_proto(proto)
    half.graph.sort()  # the Casts stand at its end
    return half
