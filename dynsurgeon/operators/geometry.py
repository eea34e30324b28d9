"""The shape of a convolution, apart from its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


@dataclass(frozen=True)
class ConvGeometry:
    """Stride, padding and the like, as `torch.nn.functional` takes them.

    Attributes:
        spatial: Number of spatial axes, 1 to 3.
        padding: Zeros on each side, or ``"same"`` or ``"valid"``.
        transposed: Whether this is a transposed convolution, whose weight is
            ``(C_in, C_out / groups, *kernel)`` instead of ``(C_out, C_in / groups, *kernel)``.
        output_padding: Extra size on one side of a transposed convolution's output.
    """

    spatial: int
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """Run the static convolution with these weights and this number of groups."""
        if self.transposed:
            run = _CONV_TRANSPOSE[self.spatial]
            shape: tuple[Any, ...] = (self.stride, self.padding, self.output_padding, groups)
            return run(x, weight, bias, *shape, self.dilation)
        run = _CONV[self.spatial]
        return run(x, weight, bias, self.stride, self.padding, self.dilation, groups)

    @property
    def out_axis(self) -> int:
        """The axis of a kernel that holds its output channels."""
        return 1 if self.transposed else 0

    def out_channels(self, weight: Tensor) -> int:
        """Output channels of one kernel of this geometry."""
        return weight.shape[1] * self.groups if self.transposed else weight.shape[0]
