"""Dynamic convolution: K kernels, mixed for each sample by attention (arXiv 1912.03458).

    W(x) = sum_k pi_k(x) W_k        b(x) = sum_k pi_k(x) b_k        y = W(x) * x + b(x)

Two starts leave a pretrained network's function as it is:

- *identical*: all W_k = W under a random attention. Any pi gives W, and the kernels separate
  because each sample weighs them differently. The attention gets its first gradient once they have
  moved.
- *zero-sum*: W_k = W + e_k with sum_k e_k = 0 under an attention whose last layer is zero. pi is
  exactly 1/K at any temperature, and attention and kernels get gradient at once.

(Identical kernels *and* a zero attention would never move apart, so that is not offered.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dynsurgeon.errors import UnsupportedModelError
from dynsurgeon.operators.bank import spread_zero_sum
from dynsurgeon.operators.constructors import (
    ConvolutionArguments,
    Device,
    TransposedArguments,
)
from dynsurgeon.operators.contract import StaticConv
from dynsurgeon.operators.execution import run_dynamic_convolution
from dynsurgeon.operators.mixture import KernelMixture
from dynsurgeon.settings import DynamicConvConfig


class DynamicConv(ConvolutionArguments, KernelMixture):
    """Base of the dynamic convolutions; use `DynamicConv2d` and its siblings.

    Takes the arguments of the static class, then those of the attention. The attributes of the
    static class (`in_channels`, `kernel_size`, `stride`, …) are there under the same names.

    Attributes:
        weight: Bank of kernels ``(K, *shape of the static weight)``.
        bias: Bank of biases ``(K, C_out)``, or None.
        attention: The `KernelAttention`, with the temperature as its buffer.

    Shape:
        As the static convolution, without a batch axis too.
    """

    static_class: ClassVar[type[StaticConv]]

    def _build(
        self,
        in_channels: int,
        out_channels: int,
        geometry: dict[str, Any],
        config: DynamicConvConfig,
        device: Device,
        dtype: torch.dtype | None,
    ) -> None:
        nn.Module.__init__(self)
        build: Callable[..., StaticConv] = self.static_class
        template = build(in_channels, out_channels, **geometry, device="meta", dtype=dtype)
        self._prepare(template, config, device)
        bank = torch.empty(config.experts, *template.weight.shape, device=device, dtype=dtype)
        self.weight = nn.Parameter(bank)
        bias = None if template.bias is None else bank.new_empty(self.experts, self.out_channels)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw each kernel as the static class draws its own: a start from scratch."""
        for k in range(self.experts):
            nn.init.kaiming_uniform_(self.weight[k], a=math.sqrt(5))
            if self.bias is not None:
                fan_in = math.prod(self.weight.shape[2:])
                nn.init.uniform_(self.bias[k], -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))

    @classmethod
    def from_static(cls, static: StaticConv, config: DynamicConvConfig | None = None) -> Self:
        """Build the dynamic convolution that computes what `static` computes.

        Copies geometry, dtype, device, requires_grad and the training flag. The attention's first
        layers are drawn from torch's global random generator.

        Raises:
            UnsupportedModelError: `static` is not a convolution of this class.
        """
        if not isinstance(static, cls.static_class):
            found, wanted = type(static).__name__, cls.static_class.__name__
            raise UnsupportedModelError(f"{cls.__name__} starts at a {wanted}, not at a {found}")
        config = config or DynamicConvConfig()
        module = cls.like(static, config, device=static.weight.device)
        module._start_from(static, config)
        return module.train(static.training)

    @classmethod
    def like(
        cls, static: StaticConv, config: DynamicConvConfig, device: torch.device | str
    ) -> Self:
        """Build a dynamic convolution of the geometry of `static`, its bank still empty.

        On the ``"meta"`` device this costs nothing, and counts parameters.
        """
        module = cls.__new__(cls)
        nn.Module.__init__(module)
        module._prepare(static, config, device)
        empty = torch.empty(config.experts, *static.weight.shape, device="meta")
        module.weight = nn.Parameter(empty)
        bias = None if static.bias is None else torch.empty(config.experts, *static.bias.shape)
        module.register_parameter("bias", None if bias is None else nn.Parameter(bias.to("meta")))
        return module

    def _prepare(self, static: StaticConv, config: DynamicConvConfig, device: Device) -> None:
        """Make everything but the banks."""
        self.copy_geometry(static)
        self.experts = config.experts
        self.build_attention(config, device, static.weight.dtype)

    @torch.no_grad()
    def _start_from(self, static: StaticConv, config: DynamicConvConfig) -> None:
        self.fill_banks(static)
        # A constant kernel has no spread to go by, so its copies stay identical; under a zero
        # attention they would do so for ever, so it keeps the random one.
        if config.start == "zero-sum" and _varies(static.weight):
            spread_zero_sum(self.weight, config.spread)
            nn.init.zeros_(self.attention.fc2.weight)
            nn.init.zeros_(self.attention.fc2.bias)
        self.attention.requires_grad_(static.weight.requires_grad)

    def compute(self, x: Tensor) -> Tensor:
        pi = self.attention(x)
        return run_dynamic_convolution(self.pad(x), pi, self.weight, self.bias, self.geometry)


class DynamicConv1d(DynamicConv):
    """Dynamic `torch.nn.Conv1d`; see `DynamicConv`."""

    static_class = nn.Conv1d


class DynamicConv2d(DynamicConv):
    """Dynamic `torch.nn.Conv2d`; see `DynamicConv`."""

    static_class = nn.Conv2d


class DynamicConv3d(DynamicConv):
    """Dynamic `torch.nn.Conv3d`; see `DynamicConv`."""

    static_class = nn.Conv3d


class DynamicConvTranspose1d(TransposedArguments, DynamicConv):
    """Dynamic `torch.nn.ConvTranspose1d`; see `DynamicConv`."""

    static_class = nn.ConvTranspose1d


class DynamicConvTranspose2d(TransposedArguments, DynamicConv):
    """Dynamic `torch.nn.ConvTranspose2d`; see `DynamicConv`."""

    static_class = nn.ConvTranspose2d


class DynamicConvTranspose3d(TransposedArguments, DynamicConv):
    """Dynamic `torch.nn.ConvTranspose3d`; see `DynamicConv`."""

    static_class = nn.ConvTranspose3d


def _varies(tensor: Tensor) -> bool:
    return tensor.is_meta or bool((tensor != tensor.flatten()[:1]).any())
