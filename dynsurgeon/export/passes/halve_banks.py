"""Store kernel banks in half precision, which halves the file; they are computed with in single.

The cast stands in the outermost graph, behind the stored bank: onnxruntime does it once, when it
loads the file. A kernel then differs by at most 2^-11 of each of its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import onnx_ir as ir
import torch

from dynsurgeon.export.tensors import set_tensor, tensor_of

NATIVE_BANK = "/kernels"
"""How the names of banks end that the native layout arranged."""


def halve_banks(model: ir.Model, banks: Collection[str]) -> int:
    """Halve every bank in single precision that lies in the outer graph, and return how many.

    Args:
        model: The finished model, changed in place.
        banks: Keys of the banks in the state_dict.
    """
    halved = [value for value in model.graph.initializers.values() if _is_bank(value, banks)]
    for value in halved:
        name = value.name
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value}, name=f"{name}/Cast")
        output = cast.outputs[0]
        output.name, output.shape = f"{name}/single", value.shape
        output.type = ir.TensorType(ir.DataType.FLOAT)
        for use in [use for use in value.uses() if use.node is not cast]:
            use.node.replace_input_with(use.idx, output)
        set_tensor(value, tensor_of(value).to(torch.float16))
        model.graph.insert_before(model.graph[0], cast)
    return len(halved)


def _is_bank(value: ir.Value, banks: Collection[str]) -> bool:
    name = re.sub(r"_\d+$", "", str(value.name))  # an expert's own rows are numbered
    known = name in banks or str(value.name) in banks or name.endswith(NATIVE_BANK)
    return known and value.dtype == ir.DataType.FLOAT
