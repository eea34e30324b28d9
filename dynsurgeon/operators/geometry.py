"""The shape of a convolution, apart from its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def edges_of(static: nn.modules.conv._ConvNd) -> list[int] | None:
    """Return what `F.pad` puts around the map of a convolution that pads with no zeros."""
    if static.padding_mode == "zeros":
        return None
    return list(static._reversed_padding_repeated_twice)


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

    @classmethod
    def of(cls, static: nn.modules.conv._ConvNd) -> ConvGeometry:
        """Return the geometry of a static convolution, that of its map after `edges` is padded."""
        spatial = len(static.kernel_size)
        padding = static.padding if static.padding_mode == "zeros" else (0,) * spatial
        return cls(
            spatial=spatial,
            stride=tuple(static.stride),
            padding=padding if isinstance(padding, str) else tuple(padding),
            dilation=tuple(static.dilation),
            groups=static.groups,
            transposed=static.transposed,
            output_padding=tuple(static.output_padding) if static.transposed else (),
        )

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        """Run the static convolution with these weights and this number of groups."""
        if self.transposed:
            run = _CONV_TRANSPOSE[self.spatial]
            shape: tuple[Any, ...] = (self.stride, self.padding, self.output_padding, groups)
            return run(x, weight, bias, *shape, self.dilation)
        run = _CONV[self.spatial]
        return run(x, weight, bias, self.stride, self.padding, self.dilation, groups)

    def convolve_backward(
        self,
        grad: Tensor,
        x: Tensor,
        weight: Tensor,
        groups: int,
        for_x: bool,
        for_weight: bool,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients of `x` and `weight` in `convolve`, None where not wanted.

        `grad` is that of the output. The padding has to be the same on both sides.
        """
        if not (for_x or for_weight):
            return None, None
        by_x, by_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, self.stride, self.int_padding(weight.shape[2:]),
            self.dilation, self.transposed, self.output_padding or (0,) * self.spatial, groups,
            (for_x, for_weight, False),
        )  # fmt: skip
        return by_x, by_weight

    def int_padding(self, kernel: Sequence[int]) -> tuple[int, ...]:
        """Zeros on both sides of each axis, for a kernel of these sizes.

        Raises:
            ValueError: ``"same"`` puts one zero more after than before; see `symmetric`.
        """
        if not self.symmetric(kernel):
            raise ValueError(f"padding 'same' of an even kernel {tuple(kernel)} is one-sided")
        return tuple(before for before, _ in self.edge_padding(kernel))

    def edge_padding(self, kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Zeros before and after the map on each axis, for a kernel of these sizes."""
        if self.padding == "valid":
            return [(0, 0)] * self.spatial
        if self.padding != "same":
            return [(int(each), int(each)) for each in self.padding]
        reaches = [d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True)]
        return [(reach // 2, reach - reach // 2) for reach in reaches]

    def symmetric(self, kernel: Sequence[int]) -> bool:
        """Whether as many zeros go before as after, which only ``"same"`` may break."""
        return all(before == after for before, after in self.edge_padding(kernel))

    def is_pointwise(self, kernel: Sequence[int]) -> bool:
        """Whether each place of the output comes from one place of the input, and is no zero."""
        return all(k == 1 for k in kernel) and not any(self.int_padding(kernel))

    def out_sizes(self, x: Tensor, weight: Tensor) -> list[int]:
        """Sizes of the output's spatial axes, for a kernel or a bank of them as `weight`."""
        kernel = weight.shape[-self.spatial :]
        padding = self.int_padding(kernel)
        parts = zip(x.shape[2:], kernel, self.stride, padding, self.dilation, strict=True)
        if self.transposed:
            extra = self.output_padding or (0,) * self.spatial
            sizes = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in parts]
            return [size + more for size, more in zip(sizes, extra, strict=True)]
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in parts]

    @property
    def out_axis(self) -> int:
        """The axis of a kernel that holds its output channels."""
        return 1 if self.transposed else 0

    def out_channels(self, weight: Tensor) -> int:
        """Output channels of one kernel of this geometry."""
        return weight.shape[1] * self.groups if self.transposed else weight.shape[0]
