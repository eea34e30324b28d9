"""What hypothesis draws: convolutions of every geometry, and DY-ReLUs of every form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from nets import perturb_
from torch import Tensor, nn

from dynsurgeon.config import DynamicConvConfig, DynamicReLUConfig
from dynsurgeon.operators import DynamicConv, DynamicReLU
from dynsurgeon.operators.contract import StaticConv
from dynsurgeon.operators.static import describe_activation
from dynsurgeon.operators.table import CONVOLUTIONS, RELUS

PLAIN: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}

LARGEST = {1: 14, 2: 12, 3: 6}
"""Largest map by spatial axes: on both sides of where execution changes its form."""


@dataclass(frozen=True)
class ConvCase:
    """A static convolution, what it becomes, and the shape of its input."""

    kind: type[nn.Module]
    config: DynamicConvConfig
    shape: tuple[int, ...]
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64

    def static(self) -> StaticConv:
        torch.manual_seed(self.seed)
        static = self.kind(**self.settings, dtype=self.dtype)
        assert isinstance(static, StaticConv)
        return static

    def dynamic(self, static: StaticConv | None = None) -> DynamicConv:
        return CONVOLUTIONS[self.kind].from_static(static or self.static(), self.config)

    def perturbed(self) -> DynamicConv:
        module = self.dynamic()
        perturb_(module, torch.Generator().manual_seed(self.seed))
        return module

    def input(self) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return torch.randn(self.shape, generator=generator, dtype=self.dtype)


@st.composite
def conv_cases(draw: st.DrawFn, transposed: bool | None = None) -> ConvCase:
    """Draw a convolution of any geometry that has an output."""
    spatial = draw(st.integers(1, 3))
    if transposed is None:
        transposed = draw(st.booleans())
    draw_geometry = _transposed_settings if transposed else _plain_settings
    settings, least = draw(draw_geometry(spatial))
    settings |= draw(_channels())
    sizes = [draw(st.integers(n, max(n, LARGEST[spatial]))) for n in least]
    config = DynamicConvConfig(
        experts=draw(st.integers(1, 5)),
        reduction=draw(st.integers(1, 4)),
        temperature=draw(st.sampled_from([0.5, 1.0, 30.0])),
        start=draw(st.sampled_from(["identical", "zero-sum"])),
    )
    shape = (draw(st.integers(1, 4)), settings["in_channels"], *sizes)
    kind = (TRANSPOSED if transposed else PLAIN)[spatial]
    return ConvCase(kind, config, shape, draw(st.integers(0, 10**6)), settings)


@st.composite
def _channels(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.integers(1, 3))
    depthwise = groups > 1 and draw(st.booleans())
    per_group = 1 if depthwise else draw(st.integers(1, 3))
    out_per_group = draw(st.integers(1, 3))
    return {
        "in_channels": groups * per_group,
        "out_channels": groups * out_per_group,
        "groups": groups,
        "bias": draw(st.booleans()),
    }


@st.composite
def _plain_settings(draw: st.DrawFn, spatial: int) -> tuple[dict[str, Any], list[int]]:
    kernel = _each(draw, spatial, 1, 3)
    dilation = _each(draw, spatial, 1, 2)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    padding: str | tuple[int, ...] = draw(st.sampled_from(["same", "valid", "numbers"]))
    stride = (1,) * spatial if padding == "same" else _each(draw, spatial, 1, 3)
    if padding == "numbers":
        # A border repeats what the map holds: it can't be wider than the map.
        limits = [n if mode != "zeros" else n + 1 for n in reach]
        padding = tuple(draw(st.integers(0, limit)) for limit in limits)
    settings = {
        "kernel_size": kernel,
        "dilation": dilation,
        "stride": stride,
        "padding": padding,
        "padding_mode": mode,
    }
    return settings, [n + 1 for n in reach]


@st.composite
def _transposed_settings(draw: st.DrawFn, spatial: int) -> tuple[dict[str, Any], list[int]]:
    kernel = _each(draw, spatial, 1, 3)
    dilation = _each(draw, spatial, 1, 2)
    stride = _each(draw, spatial, 1, 3)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    limits = [max(s, d) - 1 for s, d in zip(stride, dilation, strict=True)]
    settings = {
        "kernel_size": kernel,
        "dilation": dilation,
        "stride": stride,
        "padding": tuple(draw(st.integers(0, n // 2)) for n in reach),
        "output_padding": tuple(draw(st.integers(0, limit)) for limit in limits),
    }
    return settings, [1] * spatial


def _each(draw: st.DrawFn, spatial: int, least: int, most: int) -> tuple[int, ...]:
    return tuple(draw(st.integers(least, most)) for _ in range(spatial))


ACTIVATIONS: list[nn.Module] = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.LeakyReLU(0.2),
    nn.PReLU(init=-0.3),
    nn.LeakyReLU(1.5),
    nn.PReLU(init=1.7),
    nn.Hardswish(),
    nn.SiLU(),
    nn.GELU(),
]


@dataclass(frozen=True)
class ReLUCase:
    """A DY-ReLU and the shape of its input."""

    config: DynamicReLUConfig
    activation: nn.Module
    shape: tuple[int, ...]
    seed: int

    def dynamic(self, dtype: torch.dtype = torch.float64) -> DynamicReLU:
        torch.manual_seed(self.seed)
        kind = RELUS[self.config.kind]
        form = describe_activation(self.activation)
        return kind(self.shape[1], self.config, form=form, dtype=dtype)

    def perturbed(self) -> DynamicReLU:
        module = self.dynamic()
        perturb_(module, torch.Generator().manual_seed(self.seed))
        return module

    def input(self, dtype: torch.dtype = torch.float64) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + 1)
        return 4 * torch.randn(self.shape, generator=generator, dtype=dtype)


@st.composite
def relu_cases(draw: st.DrawFn, kinds: str = "ABC") -> ReLUCase:
    """Draw a DY-ReLU over 0 to 3 spatial axes, with 1 to 12 channels."""
    config = DynamicReLUConfig(
        kind=draw(st.sampled_from(list(kinds))),
        pieces=draw(st.integers(2, 5)),
        reduction=draw(st.sampled_from([1, 4, 8])),
        lambda_a=draw(st.sampled_from([0.0, 0.7, 1.0])),
        lambda_b=draw(st.sampled_from([0.0, 0.5, 2.0])),
        temperature=draw(st.sampled_from([0.5, 1.0, 10.0])),
    )
    spatial = draw(st.lists(st.integers(1, 5), min_size=0, max_size=3))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 12)), *spatial)
    activation = draw(st.sampled_from(ACTIVATIONS))
    return ReLUCase(config, activation, shape, draw(st.integers(0, 10**6)))
