"""How dynamic convolutions are built by hand: the arguments of torch's own, in their order.

Written out, so that `inspect.signature`, `help` and editors show them.
"""

from __future__ import annotations

from typing import Any

import torch

from dynsurgeon.settings import DynamicConvConfig, with_settings

Size = int | tuple[int, ...]
Device = torch.device | str | None


class ConvolutionArguments:
    """Builds a dynamic `torch.nn.Conv1d`, `Conv2d` or `Conv3d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        experts: int | None = None,
        reduction: int | None = None,
        temperature: float | None = None,
        config: DynamicConvConfig | None = None,
    ) -> None:
        """Build the layer for a training from scratch: every kernel is drawn by itself.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel_size: Size of each kernel, one number or one an axis.
            stride: Step of the kernel.
            padding: Added on both sides of each axis, or ``"same"`` or ``"valid"``.
            dilation: Distance of a kernel's elements.
            groups: Groups of channels that are convolved by themselves.
            bias: Whether there is a bank of biases too.
            padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
            device: Where the parameters are made.
            dtype: Their type.
            experts: Number of kernels K; 4 by default.
            reduction: Width of the attention's hidden layer is ``in_channels // reduction``; 4 by
                default.
            temperature: Softmax temperature of the attention; 30 by default, see
                `set_temperature`.
            config: The same three in one value; those that are given win over it.

        Raises:
            ConfigError: A setting of the attention is not valid.
            ValueError: As of the static class.
        """
        settings = _settings(config, experts, reduction, temperature)
        geometry: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "dilation": dilation,
            "groups": groups,
            "bias": bias,
            "padding_mode": padding_mode,
        }
        self._build(in_channels, out_channels, geometry, settings, device, dtype)

    def _build(
        self,
        in_channels: int,
        out_channels: int,
        geometry: dict[str, Any],
        config: DynamicConvConfig,
        device: Device,
        dtype: torch.dtype | None,
    ) -> None:
        raise NotImplementedError


class TransposedArguments(ConvolutionArguments):
    """Builds a dynamic `torch.nn.ConvTranspose1d`, `ConvTranspose2d` or `ConvTranspose3d`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        experts: int | None = None,
        reduction: int | None = None,
        temperature: float | None = None,
        config: DynamicConvConfig | None = None,
    ) -> None:
        """Build the layer for a training from scratch: every kernel is drawn by itself.

        Args:
            in_channels: Channels of the input.
            out_channels: Channels of the output.
            kernel_size: Size of each kernel, one number or one an axis.
            stride: Step of the output.
            padding: Taken from both sides of each axis of the output.
            output_padding: Added to one side of each axis of the output.
            groups: Groups of channels that are convolved by themselves.
            bias: Whether there is a bank of biases too.
            dilation: Distance of a kernel's elements.
            padding_mode: ``"zeros"``, the only one that torch has here.
            device: Where the parameters are made.
            dtype: Their type.
            experts: Number of kernels K; 4 by default.
            reduction: Width of the attention's hidden layer is ``in_channels // reduction``; 4 by
                default.
            temperature: Softmax temperature of the attention; 30 by default, see
                `set_temperature`.
            config: The same three in one value; those that are given win over it.

        Raises:
            ConfigError: A setting of the attention is not valid.
            ValueError: As of the static class.
        """
        settings = _settings(config, experts, reduction, temperature)
        geometry: dict[str, Any] = {
            "kernel_size": kernel_size,
            "stride": stride,
            "padding": padding,
            "output_padding": output_padding,
            "groups": groups,
            "bias": bias,
            "dilation": dilation,
            "padding_mode": padding_mode,
        }
        self._build(in_channels, out_channels, geometry, settings, device, dtype)


def _settings(
    config: DynamicConvConfig | None,
    experts: int | None,
    reduction: int | None,
    temperature: float | None,
) -> DynamicConvConfig:
    return with_settings(
        config or DynamicConvConfig(),
        experts=experts,
        reduction=reduction,
        temperature=temperature,
    )
