"""A dynamic convolution as the captured graph holds it: one node, until a form takes its place.

    y = dynsurgeon::DynamicConv(x, pi, weight[, bias])

with the geometry as ONNX spells it in the attributes. The file never holds this operator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from dynsurgeon.export.node import DOMAIN
from dynsurgeon.export.tensors import tensor_of
from dynsurgeon.operators.geometry import ConvGeometry

OPERATOR = "DynamicConv"


@dataclass(frozen=True)
class ConvSite:
    """What a form needs to know of a dynamic convolution.

    Attributes:
        x: Input ``(N, C_in, *spatial)``.
        pi: Attention ``(N, K)``, rows summing to 1.
        weight: The bank ``(K, *kernel)``, an initialiser.
        bias: Bank of biases ``(K, C_out)``, an initialiser; ``(C_out,)`` where all kernels have the
            same, or None.
        geometry: The geometry; its padding counts for nothing, `pads` does.
        pads: Zeros before each spatial axis, then after each.
    """

    x: ir.Value
    pi: ir.Value
    weight: ir.Value
    bias: ir.Value | None
    geometry: ConvGeometry
    pads: tuple[int, ...]

    @classmethod
    def of(cls, node: ir.Node) -> ConvSite:
        """Read the site off its node."""
        x, pi, weight, bias = (*node.inputs, None)[:4]
        assert x is not None
        assert pi is not None
        assert weight is not None
        strides = _ints(node, "strides")
        geometry = ConvGeometry(
            spatial=len(strides),
            stride=strides,
            padding=(0,) * len(strides),
            dilation=_ints(node, "dilations"),
            groups=node.attributes["group"].as_int(),
            transposed=bool(node.attributes["transposed"].as_int()),
            output_padding=_ints(node, "output_padding"),
        )
        return cls(x, pi, weight, bias, geometry, _ints(node, "pads"))

    @property
    def bank(self) -> Tensor:
        """The bank's values."""
        return tensor_of(self.weight)

    @property
    def mixes_biases(self) -> bool:
        """Whether the bias is computed from the attention, and no constant."""
        return self.bias is not None and tensor_of(self.bias).dim() > 1

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of one kernel, as the static convolution has it."""
        return tuple(self.bank.shape[1:])

    @property
    def out_channels(self) -> int:
        """Output channels."""
        return self.geometry.out_channels(self.bank[0])

    @property
    def batch(self) -> int | None:
        """Rows of the attention: the batch where the convolution runs; None where it is free."""
        rows = None if self.pi.shape is None else self.pi.shape[0]
        return rows if isinstance(rows, int) else None

    def attributes(self, group: int) -> dict[str, Any]:
        """Attributes of the ONNX Conv or ConvTranspose with so many groups."""
        values: dict[str, Any] = {
            "strides": self.geometry.stride,
            "pads": self.pads,
            "dilations": self.geometry.dilation,
            "kernel_shape": self.kernel_shape[2:],
            "group": group,
        }
        if self.geometry.transposed:
            values["output_padding"] = self.geometry.output_padding
        return values

    @property
    def operator(self) -> str:
        """The ONNX operator that convolves."""
        return "ConvTranspose" if self.geometry.transposed else "Conv"


def is_dynamic_conv(node: ir.Node) -> bool:
    """Whether a node is a dynamic convolution that no form has replaced yet."""
    return node.domain == DOMAIN and node.op_type == OPERATOR


def site_attributes(geometry: ConvGeometry, kernel: torch.Size) -> dict[str, Any]:
    """Return a geometry as the attributes of the node that `ConvSite.of` reads."""
    return {
        "strides": list(geometry.stride),
        "pads": explicit_pads(geometry, kernel),
        "dilations": list(geometry.dilation),
        "group": geometry.groups,
        "transposed": int(geometry.transposed),
        "output_padding": list(geometry.output_padding) or [0] * geometry.spatial,
    }


def explicit_pads(geometry: ConvGeometry, kernel: torch.Size) -> list[int]:
    """Return the zeros before each spatial axis, then after each.

    Where ``"same"`` needs an odd number of zeros, torch puts the odd one after.
    """
    if geometry.padding == "valid":
        return [0] * 2 * geometry.spatial
    if geometry.padding == "same":
        totals = [d * (k - 1) for d, k in zip(geometry.dilation, kernel, strict=True)]
        return [total // 2 for total in totals] + [total - total // 2 for total in totals]
    return [int(p) for p in geometry.padding] * 2


def _ints(node: ir.Node, name: str) -> tuple[int, ...]:
    return tuple(node.attributes[name].as_ints())
